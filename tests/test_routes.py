"""Routes: which binding answers, what a damaged or edited routes.json does, and that a change loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.bindings import KEYS, Binding
from agentkit.errors import CommandError
from agentkit.names import encoded
from agentkit.routes import Address, Routes, session_key

from .program import ROOT

CASES = os.environ.get("AGENTKIT_CASES")
SAMPLE = [
    {"agent_id": "assistant", "tier": 4, "match_key": "channel", "match_value": "discord", "priority": 0},
    {"agent_id": "ops", "tier": 1, "match_key": "peer_id", "match_value": "discord:881234567890", "priority": 10},
    {"agent_id": "assistant", "tier": 5, "match_key": "default", "match_value": "*", "priority": 0},
]


def entry(agent: str, key: str, value: str, priority: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "agent_id": agent,
        "tier": KEYS.index(key) + 1,
        "match_key": key,
        "match_value": value,
        "priority": priority,
        **more,
    }


class World:
    """A folder with a routes.json, agents that can come and go, and a clock that stands still."""

    def __init__(self, folder: Path, agents: Sequence[str] = ("assistant", "ops", "sales")) -> None:
        self.path = folder / "routes.json"
        self.agents = set(agents)
        self.now = 0.0
        self.routes = self.anew()

    def anew(self) -> Routes:
        return Routes(self.path, lambda: self.agents, lambda: "nobody", lambda: self.now)

    def write(self, content: object) -> None:
        """As a person does, from outside; it is due to be looked at."""
        self.path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        self.now += 1.0

    def answers(self, *address: str) -> str:
        return self.routes.resolve(Address(*address))

    def stored(self) -> list[Any]:
        found: list[Any] = json.loads(self.path.read_bytes())
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# -- which binding answers

TABLE: list[tuple[str, list[dict[str, Any]], Address, str]] = [
    ("channel and peer", [entry("ops", "peer_id", "discord:1")], Address("discord", "1"), "ops"),
    ("that peer elsewhere", [entry("ops", "peer_id", "discord:1")], Address("cli", "1"), "nobody"),
    ("a bare peer is so on any channel", [entry("ops", "peer_id", "1")], Address("cli", "1"), "ops"),
    ("a peer with a colon", [entry("ops", "peer_id", "@bob:example.org")], Address("x", "@bob:example.org"), "ops"),
    ("and a channel", [entry("ops", "peer_id", "x:@bob:example.org")], Address("x", "@bob:example.org"), "ops"),
    ("the end of a peer is no peer", [entry("ops", "peer_id", "example.org")], Address("@bob", "example"), "nobody"),
    ("ids are compared as they are", [entry("ops", "peer_id", "Bob")], Address("cli", "bob"), "nobody"),
    ("a guild", [entry("ops", "guild_id", "7")], Address("discord", "1", "", "7", "9"), "ops"),
    ("a guild's number is no account's", [entry("ops", "guild_id", "7")], Address("discord", "1", "7"), "nobody"),
    ("an account", [entry("ops", "account_id", "bot2")], Address("discord", "1", "bot2"), "ops"),
    ("a channel", [entry("ops", "channel", "discord")], Address("discord", "1"), "ops"),
    ("everybody", [entry("ops", "default", "*")], Address("", ""), "ops"),
    ("a star is everybody only there", [entry("ops", "channel", "*")], Address("cli", "1"), "nobody"),
    ("nothing bound", [], Address("cli", "1"), "nobody"),
    (
        "the tier comes before the priority",
        [entry("sales", "channel", "discord", 99), entry("ops", "guild_id", "7", -5)],
        Address("discord", "1", "", "7"),
        "ops",
    ),
    (
        "the priority comes before the order",
        [entry("sales", "channel", "discord", 1), entry("ops", "channel", "discord", 2)],
        Address("discord", "1"),
        "ops",
    ),
    (
        "the order decides the rest",
        [entry("ops", "channel", "discord"), entry("sales", "channel", "discord")],
        Address("discord", "1"),
        "ops",
    ),
    (
        "a bare peer can come first",
        [entry("ops", "peer_id", "1", 1), entry("sales", "peer_id", "discord:1")],
        Address("discord", "1"),
        "ops",
    ),
    (
        "and so can one on a channel",
        [entry("ops", "peer_id", "discord:1"), entry("sales", "peer_id", "1")],
        Address("discord", "1"),
        "ops",
    ),
    (
        "an unknown agent is passed",
        [entry("ghost", "peer_id", "1", 9), entry("ops", "peer_id", "1")],
        Address("discord", "1"),
        "ops",
    ),
    ("all are unknown", [entry("ghost", "default", "*")], Address("discord", "1"), "nobody"),
    ("an agent by another spelling", [entry(" Ops ", "channel", "cli")], Address("cli", "1"), "ops"),
]


@pytest.mark.parametrize(("bindings", "address", "agent"), [pytest.param(*row, id=name) for name, *row in TABLE])
def test_the_first_binding_by_tier_priority_and_order_answers(
    world: World, bindings: list[dict[str, Any]], address: Address, agent: str
) -> None:
    world.write(bindings)
    assert world.routes.resolve(address) == agent
    assert world.routes.explain(address)[0].startswith(f"{agent} answers")


def test_the_sample_of_the_project_routes_as_it_reads(world: World) -> None:
    world.write((Path(CASES) / "routes.json").read_bytes() if CASES else SAMPLE)
    assert world.answers("discord", "881234567890") == "ops"
    assert world.answers("discord", "5") == "assistant"
    assert world.answers("cli", "cli-user") == "assistant"
    assert world.routes.notices() == []
    assert len(world.routes.bindings()) == 3


few = st.sampled_from(["a", "b", "a:b", "a:a:b", "é ", "*"])
agents = st.sampled_from(["one", "two", "three", "ghost"])
anything = st.text(st.characters(codec=None), max_size=5) | few
records = st.builds(entry, agents, st.sampled_from(KEYS[:4]), few, st.integers(-2, 2)) | st.builds(
    entry, agents, st.just("default"), st.just("*"), st.integers(-2, 2)
)


def scanned(bindings: list[dict[str, Any]], address: Address, known: Sequence[str]) -> str:
    """What the rules say, word for word."""
    best: tuple[int, int, int, str] | None = None
    for at, each in enumerate(bindings):
        value = each["match_value"]
        matches = {
            "peer_id": value in (address.peer, f"{address.channel}:{address.peer}"),
            "guild_id": value == address.guild,
            "account_id": value == address.account,
            "channel": value == address.channel,
            "default": True,
        }[each["match_key"]]
        if matches and each["agent_id"] in known:
            rank = (each["tier"], -each["priority"], at, each["agent_id"])
            best = rank if best is None else min(best, rank)
    return best[3] if best else "nobody"


@given(bindings=st.lists(records, max_size=12), addresses=st.lists(st.builds(Address, few, few, few, few), max_size=4))
def test_whatever_is_bound_a_scan_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, bindings: list[dict[str, Any]], addresses: list[Address]
) -> None:
    known = ("one", "two", "three")
    world = World(tmp_path_factory.mktemp("world"), known)
    world.write(bindings)
    for address in addresses:
        wanted = scanned(bindings, address, known)
        assert world.routes.resolve(address) == wanted
        lines = world.routes.explain(address)
        assert lines[0].startswith(f"{wanted} answers")
        assert sum("matches, and answers" in line for line in lines) == (wanted != "nobody")


def test_ten_thousand_bindings_are_not_gone_through_for_each_message(world: World) -> None:
    world.write([*(entry(f"ghost{n}", "channel", "discord") for n in range(9_999)), entry("ops", "channel", "discord")])
    address = Address("discord", "1")
    assert world.routes.resolve(address) == "ops"

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(1_000):
            world.routes.resolve(address)
        return (time.perf_counter() - began) / 1_000

    assert min(seconds() for _ in range(5)) < 100e-6  # going through them takes 500 µs and more


# -- why


def test_explaining_names_the_reason_for_each_binding(world: World) -> None:
    world.write(
        [
            entry("sales", "peer_id", "1"),
            entry("ops", "peer_id", "discord:1", 5),
            entry("ghost", "peer_id", "1", 9),
            entry("sales", "peer_id", "discord:1", 5),
            entry("sales", "peer_id", "2"),
            entry("sales", "guild_id", "7"),
            entry("assistant", "channel", "discord"),
            entry("assistant", "channel", "cli"),
        ]
    )
    assert world.routes.explain(Address("discord", "1")) == [
        "ops answers: peer_id is discord:1.",
        "tier 1, peer_id:",
        "  discord:1 -> ops, priority 5: matches, and answers",
        "  1 -> ghost, priority 9: matches, but there is no agent ghost",
        "  discord:1 -> sales, priority 5: matches, but comes later in the file",
        "  1 -> sales, priority 0: matches, but has a lower priority",
        "  2 -> sales, priority 0: does not match, the peer is discord:1",
        "tier 2, guild_id:",
        "  7 -> sales, priority 0: does not match, it was said in no guild",
        "tier 3, account_id: no bindings",
        "tier 4, channel:",
        "  discord -> assistant, priority 0: matches, but tier 1 comes first",
        "  cli -> assistant, priority 0: does not match, the channel is discord",
        "tier 5, default: no bindings",
    ]
    assert world.routes.explain(Address("tui", "9"))[0] == "nobody answers: no binding matches."


def test_explaining_stays_short_with_ten_thousand_bindings(world: World) -> None:
    world.write([entry("ops", "peer_id", str(n)) for n in range(5_000)] + [entry("ops", "channel", "cli")] * 5_000)
    lines = world.routes.explain(Address("cli", "4999"))
    assert len(lines) < 40
    assert "  4999 -> ops, priority 0: matches, and answers" in lines
    assert "  4,989 more do not match" in lines
    assert "  4,990 more match, but do not answer" in lines


def test_what_is_explained_cannot_act_on_a_terminal_or_break_a_line(world: World) -> None:
    world.write([entry("ops", "peer_id", "\x1b[2J\n\u202e" + "x" * 1_000)])
    for line in world.routes.explain(Address("a\nb", "\x1b" * 500, "\r", "\u2028")):
        assert line.isprintable()
        assert len(line) < 500


# -- session keys

HERE = Address("discord", "1", "bot", "7")


@pytest.mark.parametrize(
    ("scope", "address", "key"),
    [
        ("main", HERE, "agent:ops:main"),
        ("per-peer", HERE, "agent:ops:direct:1"),
        ("per-channel-peer", HERE, "agent:ops:discord:direct:1"),
        ("per-account-channel-peer", HERE, "agent:ops:discord:bot:direct:1"),
        ("per-account-channel-peer", Address("discord", "1"), "agent:ops:discord::direct:1"),
        ("per-peer", Address("cli", "cli-user"), "agent:ops:direct:cli-user"),
        ("per-peer", Address("x", "Zoë 99+@._-"), "agent:ops:direct:Zoë 99+@._-"),
        ("per-peer", Address("x", "@bob:a%b\n"), "agent:ops:direct:@bob%3Aa%25b%0A"),
        ("per-peer", Address("x", "\ud800\x85"), "agent:ops:direct:%ED%A0%80%C2%85"),
        ("main", HERE._replace(group="9"), "agent:ops:discord:group:9"),
        ("per-peer", HERE._replace(group="9"), "agent:ops:discord:group:9"),
        ("per-account-channel-peer", HERE._replace(group="a:b"), "agent:ops:discord:group:a%3Ab"),
    ],
)
def test_a_session_key_says_who_talks_to_which_agent(scope: str, address: Address, key: str) -> None:
    assert session_key("ops", scope, address) == key


SEPARATES: dict[str, Callable[[Address], object]] = {
    "main": lambda each: None,
    "per-peer": lambda each: each.peer,
    "per-channel-peer": lambda each: (each.channel, each.peer),
    "per-account-channel-peer": lambda each: (each.channel, each.account, each.peer),
}
tricky = st.sampled_from(["", ":", "%", "%3A", "a:direct:b", "direct", "group", "main", "\n", "é"]) | anything
addresses = st.builds(Address, tricky, tricky, tricky, tricky, st.just("") | tricky)


@given(st.sampled_from([*SEPARATES]), st.sampled_from([*SEPARATES]), addresses, addresses)
def test_addresses_share_a_key_only_where_the_scope_puts_them_together(
    scope: str, other: str, one: Address, two: Address
) -> None:
    def who(scope: str, each: Address) -> object:
        return ("group", each.channel, each.group) if each.group else (scope, SEPARATES[scope](each))

    keys = session_key("ops", scope, one), session_key("ops", other, two)
    assert (keys[0] == keys[1]) == (who(scope, one) == who(other, two))
    assert all("\n" not in key and len(encoded(key)) <= 180 for key in keys)


# -- the file


def test_a_file_that_is_not_there_binds_nothing(world: World) -> None:
    assert world.answers("cli", "1") == "nobody"
    assert world.routes.bindings() == ()
    assert world.routes.notices() == []


def test_a_deleted_file_means_no_bindings(world: World) -> None:
    world.write([entry("ops", "default", "*")])
    assert world.answers("cli", "1") == "ops"
    world.path.unlink()
    world.now += 1
    assert world.answers("cli", "1") == "nobody"


def test_a_hand_edit_counts_after_a_second_and_not_before(world: World) -> None:
    world.write([entry("ops", "default", "*")])
    assert world.answers("cli", "1") == "ops"
    world.path.write_text(json.dumps([entry("sales", "default", "*")]))
    world.now += 0.99
    assert world.answers("cli", "1") == "ops"
    world.now += 0.01
    assert world.answers("cli", "1") == "sales"


def test_an_edit_of_the_same_size_within_a_tick_is_not_missed(world: World) -> None:
    for turn in range(20):
        for agent in ("ops", "sax"):
            world.agents.add(agent)
            world.write([entry(agent, "default", "*")])
            assert world.answers("cli", "1") == agent, turn


def test_an_agent_that_comes_or_goes_changes_who_answers(world: World) -> None:
    world.write([entry("late", "channel", "cli"), entry("ops", "default", "*")])
    assert world.answers("cli", "1") == "ops"
    world.agents.add("late")
    world.now += 1
    assert world.answers("cli", "1") == "late"
    world.agents -= {"late", "ops"}
    world.now += 1
    assert world.answers("cli", "1") == "nobody"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "line 1, column 1: an array"),
        (b"{}", "line 1, column 1: an array"),
        (b" \n null", "line 2, column 2: an array"),
        (b"[\n  {},\n  {]\n", "line 3, column 4: "),
        (b'[{"agent_id": "ops"}\n {}]', "line 2, column 2: a comma or ] is missing"),
        (b"[]\n[]", "line 2, column 1: nothing can follow"),
        (b'[{"a": "\x80"}]', "line 1, column 9: it is not UTF-8"),
        ("[\n {'é': 'é\udcff".encode("utf-8", "surrogateescape"), "line 2, column 10: it is not UTF-8"),
        ("[]".encode("utf-16"), "line 1, column 1: it is not UTF-8"),
        (b'[\n[], {"priority": NaN}]', "line 2, column 5: a number in this entry"),
        (b'[{"priority": 1e999}]', "line 1, column 2: a number in this entry"),
        (b'[{"priority": ' + b"9" * 5_000 + b"}]", "line 1, column 2: a number in this entry"),
        (b"[" * 200_000, "nested too deeply"),
        (b'["a\nb"]', "line 1, column 4: Invalid control character"),
        (b"\0" * 50, "line 1, column 1: an array"),
    ],
)
def test_a_broken_file_is_told_once_with_its_place_and_leaves_everything_as_it_was(
    world: World, content: bytes, what: str
) -> None:
    world.write([entry("ops", "default", "*")])
    assert world.answers("cli", "1") == "ops"
    world.write(content)
    assert world.answers("cli", "1") == "ops"
    told = world.routes.notices()
    assert len(told) == 1
    assert what in told[0]
    assert world.routes.problems() == tuple(told)
    world.now += 1
    assert world.routes.notices() == []
    for change in (lambda: world.routes.bind("ops", "channel", "cli"), lambda: world.routes.unbind("default", "*")):
        with pytest.raises(CommandError, match=r"routes\.json is broken: .*Put it right"):
            change()
    assert world.path.read_bytes() == content
    world.write(content + b" ")
    assert len(world.routes.notices()) == 1
    world.write([entry("sales", "default", "*")])
    assert world.answers("cli", "1") == "sales"
    assert world.routes.problems() == ()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_loop(path: Path) -> None:
    path.symlink_to(path)


def a_huge_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 100 << 20)


@pytest.mark.parametrize("make", [a_fifo, a_folder, a_loop, a_huge_file])
def test_what_is_no_usable_file_is_told_once_and_never_waited_for(world: World, make: Callable[[Path], None]) -> None:
    world.write([entry("ops", "default", "*")])
    assert world.answers("cli", "1") == "ops"
    world.path.unlink()
    make(world.path)
    for _ in range(3):
        world.now += 1
        assert world.answers("cli", "1") == "ops"
    open_files = len(os.listdir("/dev/fd"))
    assert len(world.routes.notices()) == 1
    for _ in range(3):
        world.now += 1
        assert world.routes.notices() == []
        with pytest.raises(CommandError):
            world.routes.bind("ops", "channel", "cli")
    assert len(os.listdir("/dev/fd")) == open_files
    if world.path.is_dir():
        world.path.rmdir()
    else:
        world.path.unlink()
    world.write([entry("ops", "default", "*")])
    assert world.answers("cli", "1") == "ops"
    assert world.routes.problems() == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_file_that_may_not_be_read_or_written_is_left_alone(world: World) -> None:
    world.write([entry("ops", "default", "*")])
    assert world.answers("cli", "1") == "ops"
    world.path.chmod(0o400)
    with pytest.raises(CommandError, match="write-protected"):
        world.routes.bind("ops", "channel", "cli")
    world.path.chmod(0)
    world.now += 1
    assert world.answers("cli", "1") == "ops"
    assert "cannot be read" in world.routes.notices()[0]
    world.path.chmod(0o600)
    world.now += 1
    assert world.routes.problems() == ()


def test_a_file_cut_off_at_any_byte_leaves_the_bindings_as_they_were(world: World) -> None:
    world.routes.bind("ops", "peer_id", "discord:é", 3)
    world.routes.bind("sales", "default", "*")
    whole = world.path.read_bytes()
    before = world.routes.bindings()
    for size in range(len(whole)):
        world.write(whole[:size])
        assert world.routes.bindings() == before, whole[:size]
        is_whole = whole[:size].endswith(b"]")
        assert (world.routes.problems() == ()) == is_whole
        assert (world.anew().bindings() == ()) != is_whole
    world.write(whole)
    assert world.routes.problems() == ()


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("text", "it is no object"),
        (None, "it is no object"),
        ([], "it is no object"),
        ({}, "agent_id names no agent"),
        ({**SAMPLE[0], "agent_id": 5}, "agent_id names no agent"),
        ({**SAMPLE[0], "agent_id": "!!"}, "agent_id names no agent"),
        ({**SAMPLE[0], "match_key": "peer"}, "match_key is none of peer_id, "),
        ({**SAMPLE[0], "match_key": ["channel"]}, "match_key is none of peer_id, "),
        ({**SAMPLE[0], "match_value": 881234567890}, "match_value is empty, or no text"),
        ({**SAMPLE[0], "match_value": ""}, "match_value is empty, or no text"),
        ({**SAMPLE[2], "match_value": "discord"}, "the match_value of default is *"),
        ({**SAMPLE[0], "tier": 1}, "channel is tier 4"),
        ({**SAMPLE[0], "tier": "4"}, "channel is tier 4"),
        ({**SAMPLE[1], "tier": True}, "peer_id is tier 1"),
        ({**SAMPLE[0], "priority": True}, "priority is no whole number"),
        ({**SAMPLE[0], "priority": "5"}, "priority is no whole number"),
        ({**SAMPLE[0], "priority": 0.5}, "priority is no whole number"),
        ({**SAMPLE[0], "priority": 10**18}, "priority is no whole number of at most 18 digits"),
    ],
)
def test_an_entry_that_is_no_binding_is_skipped_and_named_once(world: World, broken: object, why: str) -> None:
    text = f"[\n{json.dumps(SAMPLE[0])},\n{json.dumps(broken)},\n{json.dumps(SAMPLE[1])}]"
    world.write(text.encode())
    assert world.answers("discord", "881234567890") == "ops"
    assert world.answers("discord", "1") == "assistant"
    assert len(world.routes.bindings()) == 2
    (told,) = world.routes.notices()
    assert told.startswith("routes.json, line 3 (entry 2) is skipped: ")
    assert why in told
    assert world.routes.notices() == []


def test_tier_and_priority_may_be_left_out_and_the_largest_priority_counts(world: World) -> None:
    world.write(
        [
            {"agent_id": "ops", "match_key": "channel", "match_value": "cli", "tier": None, "priority": None},
            {"agent_id": "sales", "match_key": "channel", "match_value": "cli", "priority": 10**18 - 1},
            {"agent_id": "ops", "match_key": "default"},
        ]
    )
    assert [each.tier for each in world.routes.bindings()] == [4, 4, 5]
    assert world.answers("cli", "1") == "sales"
    assert world.answers("tui", "1") == "ops"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(world: World) -> None:
    world.write(json.dumps(SAMPLE, indent=1).replace("\n", "\r\n").encode("utf-8-sig"))
    assert len(world.routes.bindings()) == 3


def test_unknown_agents_are_named_once_each(world: World) -> None:
    world.write([entry("ghost", "peer_id", str(n)) for n in range(50)] + [entry("spook", "default", "*")])
    told = world.routes.notices()
    assert [line.split(",")[0] for line in told] == ["routes.json binds to ghost", "routes.json binds to spook"]
    world.write([entry("ghost", "peer_id", "other"), entry("spook", "default", "*")])
    assert world.routes.notices() == []
    world.agents.add("ghost")
    world.now += 1
    assert len(world.routes.problems()) == 1
    world.agents.remove("ghost")
    world.now += 1
    assert len(world.routes.notices()) == 1


def test_thousands_of_things_wrong_are_a_few_lines(world: World) -> None:
    world.write([entry(f"ghost{n}", "peer_id", "1") for n in range(5_000)] + [{}] * 5_000)
    told = world.routes.notices()
    assert len(told) == 22
    assert told[10] == "routes.json: 4,990 more of this kind."


# -- changes


def test_binding_makes_a_file_that_reads_well(world: World) -> None:
    made = world.routes.bind("Ops", "peer_id", "discord:1", 10)
    assert made == Binding("ops", 1, "peer_id", "discord:1", 10)
    assert world.answers("discord", "1") == "ops"
    world.routes.bind("assistant", "default", "*")
    assert world.path.read_text() == (
        "[\n"
        '  {"agent_id": "ops", "tier": 1, "match_key": "peer_id", "match_value": "discord:1", "priority": 10},\n'
        '  {"agent_id": "assistant", "tier": 5, "match_key": "default", "match_value": "*", "priority": 0}\n'
        "]\n"
    )
    assert world.routes.unbind("peer_id", "discord:1") == 1
    assert world.routes.unbind("default", "*") == 1
    assert world.path.read_text() == "[]\n"
    assert world.answers("discord", "1") == "nobody"


def test_a_change_keeps_all_that_it_does_not_mean(world: World) -> None:
    kept = [
        '{"agent_id": "Ghost", "note": "zoë [ { \\" \\u00e9", "match_key": "channel", "match_value": "tui"}',
        '"no binding"',
        '{"match_key": "peer", "match_key": "twice", "big": 123456789012345678901234567890, "x": 1.50}',
        '{"agent_id": "ops", "match_key": "channel", "match_value": "cli", "priority": 1, "by": {"who": ["ann"]}}',
    ]
    world.write(("[" + ",".join(kept) + "]").encode())
    made = world.routes.bind("ops", "channel", "cli", 2)
    assert made.more == {"by": {"who": ["ann"]}}
    kept[3] = kept[3].replace('"priority": 1', '"priority": 2')
    assert world.path.read_text() == "[\n  " + ",\n  ".join(kept) + "\n]\n"
    world.routes.bind("sales", "default", "*")
    assert world.routes.unbind("channel", "cli") == 1
    assert world.stored()[:-1] == [json.loads(each) for each in kept[:3]]


def test_entries_over_several_lines_become_one_line_each(world: World) -> None:
    world.write(json.dumps([{**SAMPLE[0], "more": [" a  b ", {}, []], "none": {}}], indent=4).encode())
    world.routes.bind("ops", "default", "*")
    assert world.path.read_text().splitlines()[
        1
    ] == f"  {json.dumps({**SAMPLE[0], 'more': [' a  b ', {}, []]})[:-1]}" + (', "none": {}},')


def test_who_is_bound_last_answers_and_those_before_stay(world: World) -> None:
    world.write(
        [entry("assistant", "channel", "cli"), entry("sales", "channel", "cli", 5), entry("ops", "default", "*")]
    )
    world.routes.bind("ops", "channel", "cli", 5)
    assert world.answers("cli", "1") == "ops"
    world.routes.bind("sales", "channel", "cli", 5)
    assert world.answers("cli", "1") == "sales"
    assert world.routes.unbind("channel", "cli", "Sales") == 1
    assert world.answers("cli", "1") == "ops"
    world.routes.bind("ops", "channel", "cli", 0)
    assert world.answers("cli", "1") == "ops"
    assert [each["agent_id"] for each in world.stored()] == ["ops", "assistant", "ops"]
    assert world.routes.unbind("channel", "cli") == 2


def test_what_is_already_so_is_not_written_again(world: World) -> None:
    world.write(json.dumps(SAMPLE, indent=3).encode())
    before = world.path.stat()
    world.routes.bind("ops", "peer_id", "discord:881234567890", 10)
    assert world.routes.unbind("channel", "nowhere") == 0
    assert world.path.stat().st_ino == before.st_ino
    assert world.path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("ghost", "channel", "cli"), "There is no agent ghost: there are assistant, ops, sales."),
        (("\x1b[2J", "channel", "cli"), "That is no binding|There is no agent"),
        (("", "channel", "cli"), "agent_id"),
        (("ops", "peer", "cli"), "match_key is none of peer_id, guild_id, account_id, channel, default"),
        (("ops", "channel", ""), "match_value is empty"),
        (("ops", "channel", " \t"), "match_value is empty"),
        (("ops", "default", "cli"), "the match_value of default is *"),
        (("ops", "channel", "cli", 10**18), "priority is no whole number"),
        (("ops", "channel", "cli", True), "priority is no whole number"),
    ],
)
def test_what_cannot_be_bound_is_refused_with_a_reason(world: World, arguments: tuple[Any, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why.replace("*", r"\*")) as refused:
        world.routes.bind(*arguments)
    assert str(refused.value).isprintable()
    assert not world.path.exists()


def test_unbinding_needs_a_key_and_a_name_without_letters_is_nobodys(world: World) -> None:
    world.write(SAMPLE)
    with pytest.raises(CommandError, match="There is no key peer: there are peer_id, "):
        world.routes.unbind("peer", "1")
    assert world.routes.unbind("default", "*", "!!") == 0
    assert len(world.stored()) == 3


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    world = World(tmp_path / "absent")
    with pytest.raises(CommandError, match=r"cannot be changed .*then try again"):
        world.routes.bind("ops", "channel", "cli")
    assert world.answers("cli", "1") == "nobody"


def test_a_file_never_grows_beyond_what_is_read(world: World) -> None:
    world.write([entry("ops", "peer_id", "x" * (15 << 20))])
    with pytest.raises(CommandError, match="larger than 16 MiB"):
        world.routes.bind("ops", "peer_id", "y" * (2 << 20))
    assert len(world.stored()) == 1


@given(st.lists(st.tuples(st.sampled_from(["ops", "sales"]), st.sampled_from(KEYS[:4]), anything), max_size=5))
def test_any_text_can_be_bound_found_and_unbound(
    tmp_path_factory: pytest.TempPathFactory, bound: list[tuple[str, str, str]]
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    bound = [each for each in bound if each[2].strip()]
    for each in bound:
        world.routes.bind(*each)
    found = {(each.agent_id, each.match_key, each.match_value) for each in world.anew().bindings()}
    assert found == set(bound)
    for _, key, value in bound:
        world.routes.unbind(key, value)
    assert world.anew().bindings() == ()
    assert [each.name for each in world.path.parent.iterdir()] in ([], ["routes.json"])


def test_a_link_stays_one_and_the_file_it_leads_to_keeps_its_rights(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "mine.json"
    real.parent.mkdir()
    real.write_text("[]")
    real.chmod(0o640)
    world = World(tmp_path)
    world.path.symlink_to(real)
    world.routes.bind("ops", "default", "*")
    assert world.path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert world.answers("cli", "1") == "ops"


# -- crashes, other processes and hands


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ}, text=True, stdout=-1, stderr=-1)


def finished(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, output + errors
    return output


CRASHES = """
import os, sys
from pathlib import Path
from agentkit.routes import Routes
from tests.crash import Ending, child

whole = Path(sys.argv[1], "whole.json").read_bytes()
for at in range(1, 100):
    path = Path(sys.argv[1], str(at), "routes.json")
    path.parent.mkdir()
    path.write_bytes(whole)

    def work():
        Ending(at)
        Routes(path, lambda: ["ops"], lambda: "ops").bind("ops", "channel", "cli")

    child(work)
    if os.waitstatus_to_exitcode(os.wait()[1]) == 0:
        break
print(at)
"""


def test_a_process_that_ends_at_any_step_leaves_the_old_table_or_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "whole.json").write_text(json.dumps(SAMPLE))
    calls = int(finished(run(CRASHES, tmp_path)))
    assert calls > 5
    found = [json.loads((tmp_path / str(at) / "routes.json").read_bytes()) for at in range(1, calls + 1)]
    new = [*SAMPLE, entry("ops", "channel", "cli")]
    assert found[0] == SAMPLE
    assert found[-1] == new
    assert all(each in (SAMPLE, new) for each in found)
    for at in range(1, calls + 1):
        world = World(tmp_path / str(at))
        world.routes.bind("sales", "channel", "tui")
        assert world.answers("tui", "1") == "sales"


BINDS = """
import sys
from pathlib import Path
from agentkit.routes import Routes

routes = Routes(Path(sys.argv[1]), lambda: ["ops"], lambda: "ops")
for number in range(25):
    routes.bind("ops", "peer_id", f"{sys.argv[2]}-{number}")
"""


def test_two_processes_and_two_threads_that_bind_at_once_lose_nothing(world: World) -> None:
    world.write(SAMPLE)
    processes = [run(BINDS, world.path, name) for name in ("a", "b")]

    def work(name: str) -> None:
        for number in range(25):
            world.routes.bind("ops", "peer_id", f"{name}-{number}")
            assert world.answers("x", f"{name}-{number}") == "ops"

    threads = [threading.Thread(target=work, args=(name,)) for name in ("c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for process in processes:
        finished(process)
    stored = world.stored()
    assert stored[:3] == SAMPLE
    expected = {f"{name}-{number}" for name in "abcd" for number in range(25)}
    assert sorted(each["match_value"] for each in stored[3:]) == sorted(expected)


EDITED = """
import sys
from pathlib import Path
from agentkit.routes import Routes

path, times = Path(sys.argv[1]), int(sys.argv[2])

def hand(event, arguments):
    global times
    if event == "os.rename" and times and arguments[1] != path.name:
        times -= 1
        path.write_text(path.read_text().replace("]", ', {"by hand": %d}]' % times))

sys.addaudithook(hand)
try:
    Routes(path, lambda: ["ops"], lambda: "ops").bind("ops", "channel", "cli")
    print("bound")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(("edits", "outcome"), [(1, "bound"), (3, "bound"), (99, "CommandError")])
def test_an_edit_while_a_binding_is_written_is_never_overwritten(world: World, edits: int, outcome: str) -> None:
    world.write(SAMPLE)
    assert finished(run(EDITED, world.path, edits)).startswith(outcome)
    stored = world.stored()
    made = outcome == "bound"
    assert stored[:3] == SAMPLE
    assert [each for each in stored if "by hand" in each] == [
        {"by hand": edits - 1 - n} for n in range(len(stored) - 3 - made)
    ]
    assert (stored[-1] == entry("ops", "channel", "cli")) == made
    assert [each.name for each in world.path.parent.iterdir()] == ["routes.json"]


HOLDS = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_that_holds_the_file_for_ever_is_not_waited_for_and_nobody_else_waits(world: World) -> None:
    world.write([entry("ops", "default", "*")])
    assert world.answers("cli", "1") == "ops"
    command = [sys.executable, "-c", HOLDS, str(world.path.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        refused: list[str] = []

        def work() -> None:
            try:
                world.routes.bind("sales", "default", "*")
            except CommandError as error:
                refused.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            world.now += 1
            assert world.answers("cli", "1") == "ops"
            thread.join(0.05)
        assert "another process is changing it" in refused[0]
        holder.stdin.close()
    world.routes.bind("sales", "default", "*")
    assert world.answers("cli", "1") == "sales"
