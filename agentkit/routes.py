"""Who answers whom: five tiers of bindings, routes.json, session keys."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from . import names
from .bindings import EVERYBODY, KEYS, Binding, Entry, binding, parsed, replace
from .entries import DECODER, written
from .errors import CommandError
from .records import dataclass, field
from .userfile import seen, signature
from .watch import TICK

PERIOD = 1.0  # seconds between two looks at the file, and at which agents there are
MOST = 10  # of a kind that are named one by one
NEVER = float("-inf")


class Address(NamedTuple):
    """Where a message comes from. group: the guild channel or thread it was said in; empty: said to the agent alone."""

    channel: str
    peer: str
    account: str = ""
    guild: str = ""
    group: str = ""


def session_key(agent_id: str, dm_scope: str, address: Address) -> str:
    """Which session of an agent a message belongs to. dm_scope: one of agentfiles.DM_SCOPES; groups have their own.

    `:`, `%`, control characters, line separators and half surrogate pairs of an id are percent-encoded UTF-8
    (RFC 3986), so that different ids never give the same key.
    """
    agent = _quoted(agent_id)
    channel, peer, account, _, group = map(_quoted, address)
    if group:
        return f"agent:{agent}:{channel}:group:{group}"
    if dm_scope == "main":
        return f"agent:{agent}:main"
    if dm_scope == "per-peer":
        return f"agent:{agent}:direct:{peer}"
    if dm_scope == "per-channel-peer":
        return f"agent:{agent}:{channel}:direct:{peer}"
    return f"agent:{agent}:{channel}:{account}:direct:{peer}"


_SPECIAL = "[:%\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"


def _quoted(part: str) -> str:
    if part.isascii() and part.isprintable() and ":" not in part and "%" not in part:
        return part  # as most are: a start does without the pattern
    return re.sub(
        _SPECIAL, lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass")), part
    )


class Routes:
    """May be used from any thread.

    path: the file; agents: the ids there are now; default: who answers where no binding says; clock: seconds,
    monotonic. The file and the agents are looked at once a second at most. A file that is broken stays as it is, and
    the bindings stay as they were; one that is not there holds none.
    """

    def __init__(
        self,
        path: Path,
        agents: Callable[[], Collection[str]],
        default: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._agents, self._default, self._clock = path, agents, default, clock
        self._lock = threading.Lock()  # serialises looking at the file, changing it, and telling what is wrong with it
        self._looked = NEVER
        self._signature: tuple[int, ...] | None = None  # of the file when it was read; None: to be read again
        self._seen: tuple[bytes | None, str] = None, ""  # what it held, or why it could not be read
        self._entries: list[Entry] = []
        self._broken = ""  # what is wrong with the whole file
        self._told: set[str] = set()
        self._table = _Table()  # never changed, only replaced, so that it is read without the lock

    def resolve(self, address: Address) -> str:
        """The id of the agent that answers: the first match by tier, then by priority, then by order in the file."""
        found = self._fresh().first(address)
        return found[2] if found else self._default()

    def explain(self, address: Address) -> list[str]:
        """Who answers, and for each binding, tier by tier, why or why not; of many that do not match, a few."""
        return _explained(self._fresh(), address, self._default)

    def bindings(self) -> tuple[Binding, ...]:
        """Those in force, in the order of the file; those to unknown agents too."""
        return self._fresh().bindings

    def problems(self) -> tuple[str, ...]:
        """All that is wrong now, a line each."""
        return self._fresh().problems

    def notices(self) -> list[str]:
        """What is wrong and was not told by an earlier call; of a broken file, each version is told."""
        self._fresh()
        with self._lock:
            new = [each for each in self._table.problems if each not in self._told]
            self._told.update(new)
            return new

    def bind(self, agent_id: str, key: str, value: str, priority: int = 0) -> Binding:
        """Have an agent answer what matches; there is one binding for each agent, key and value, whose priority
        changes. It goes before those of other agents with its key, value and priority, which stay. Raises CommandError.
        """
        record = {"agent_id": names.agent_id(agent_id), "tier": KEYS.index(key) + 1 if key in KEYS else None}
        record |= {"match_key": key, "match_value": value, "priority": priority}
        try:
            made = binding(record)
        except ValueError as error:
            raise CommandError(f"That is no binding: {error}.") from None
        if made.agent_id not in (agents := self._agents()):
            known = ", ".join(sorted(agents)[:MOST]) + (" ..." if len(agents) > MOST else "")
            raise CommandError(f"There is no agent {_shown(agent_id)}: there are {known}.")

        def edit(entries: list[Entry]) -> list[str]:
            nonlocal made
            same = [
                (at, each) for at, entry in enumerate(entries) if (each := entry.binding) and each.is_for(key, value)
            ]
            own = [at for at, each in same if each.agent_id == made.agent_id]
            rivals = [at for at, each in same if each.priority == priority]
            text = entries[own[0]].text if own else written(record)
            if own and own[0] not in rivals:
                text = written({**DECODER.decode(text), "priority": priority})
            made = binding(DECODER.decode(text))
            texts = [each.text for at, each in enumerate(entries) if at not in own]
            texts.insert(min(rivals + own, default=len(entries)), text)
            return texts

        self._change(edit)
        return made

    def unbind(self, key: str, value: str, agent_id: str = "") -> int:
        """Drop the bindings of a key and value, of one agent or of all; returns how many went. Raises CommandError."""
        if key not in KEYS:
            raise CommandError(f"There is no key {_shown(key)}: there are {', '.join(KEYS)}.")
        gone, wanted = 0, names.agent_id(agent_id)

        def goes(each: Binding | None) -> bool:
            return each is not None and each.is_for(key, value) and (not agent_id or each.agent_id == wanted)

        def edit(entries: list[Entry]) -> list[str]:
            nonlocal gone
            kept = [each.text for each in entries if not goes(each.binding)]
            gone = len(entries) - len(kept)
            return kept

        self._change(edit)
        return gone

    # -- the file

    def _fresh(self) -> _Table:
        """The table, after a look where one is due. Only the first look waits for a thread that changes the file."""
        if self._clock() - self._looked >= PERIOD and self._lock.acquire(blocking=self._looked == NEVER):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._table

    def _look(self) -> None:
        """Take in what has changed. Called with the lock held."""
        assert self._lock.locked()
        now, agents, known = self._clock(), frozenset(self._agents()), self._table
        entries, stamp = self._entries, signature(self._path)
        if stamp is None or stamp != self._signature:
            found = seen(self._path)
            if found != self._seen:
                self._seen = found
                self._take(*found)
            # What cannot be read may become readable, and what was written only just now may change, without a trace.
            is_old = stamp is not None and not 0 <= time.time_ns() - stamp[0] <= TICK
            self._signature = stamp if is_old and not found[1] else None
        if entries is not self._entries or (agents, self._broken) != (known.agents, known.broken):
            self._table = _table(self._path.name, self._broken, self._entries, agents)
            self._told.intersection_update(self._table.problems)
        self._looked = now

    def _take(self, data: bytes | None, why: str) -> None:
        try:
            if why:
                raise ValueError(why)
            self._entries, self._broken = parsed(data), ""
        except ValueError as error:
            self._broken = (
                f"{self._path.name} is broken: {error}. Until it is put right, the bindings stay as they were."
            )
            self._told.discard(self._broken)

    def _change(self, edit: Callable[[list[Entry]], list[str]]) -> None:
        """Replace the file by the entries, as text, that `edit` makes of those in it now. Raises CommandError."""
        path = self._path
        with self._lock:
            try:
                replace(path, edit)
            except ValueError as error:
                raise CommandError(f"{path.name} is broken: {error}. Put it right, then try again.") from None
            except OSError as error:
                why = error.strerror or str(error)
                raise CommandError(f"{path} cannot be changed ({why}): put that right, then try again.") from None
            self._look()


# A binding's place in its tier, of which the least comes first: the priority's negative, its index, its agent's id.
_Rank = tuple[int, int, str]


@dataclass(frozen=True)
class _Table:
    """The bindings, which agents there are, what is wrong, and for each tier the first known agent's rank by value."""

    bindings: tuple[Binding, ...] = ()
    agents: frozenset[str] = frozenset()
    broken: str = ""
    problems: tuple[str, ...] = ()
    tiers: tuple[dict[str, _Rank], ...] = field(default_factory=lambda: tuple({} for _ in KEYS))

    def first(self, address: Address) -> _Rank | None:
        channel, peer, account, guild, _ = address
        peers, guilds, accounts, channels, everybody = self.tiers
        there, anywhere = peers.get(f"{channel}:{peer}"), peers.get(peer)
        if there and anywhere:
            return min(there, anywhere)
        by_peer = there or anywhere
        return (
            by_peer or guilds.get(guild) or accounts.get(account) or channels.get(channel) or everybody.get(EVERYBODY)
        )


def _values(address: Address) -> tuple[tuple[str, ...], ...]:
    """For each tier, the values that match."""
    channel, peer, account, guild, _ = address
    return (f"{channel}:{peer}", peer), (guild,), (account,), (channel,), (EVERYBODY,)


def _table(name: str, broken: str, entries: Sequence[Entry], agents: frozenset[str]) -> _Table:
    bindings = tuple(each.binding for each in entries if each.binding)
    tiers: tuple[dict[str, _Rank], ...] = tuple({} for _ in KEYS)
    for at, each in enumerate(bindings):
        if each.agent_id in agents:
            ranks, rank = tiers[each.tier - 1], (-each.priority, at, each.agent_id)
            ranks[each.match_value] = min(rank, ranks.get(each.match_value, rank))
    faults = [
        f"{name}, line {each.line} (entry {number}) is skipped: {each.why}."
        for number, each in enumerate(entries, 1)
        if each.why
    ]
    unknown = dict.fromkeys(each.agent_id for each in bindings if each.agent_id not in agents)
    absent = [
        f"{name} binds to {id}, which is no agent: what is bound to it is skipped. /agents shows who is there."
        for id in unknown
    ]
    problems = ([broken] if broken else []) + _few(name, faults) + _few(name, absent)
    return _Table(bindings, agents, broken, tuple(problems), tiers)


def _few(name: str, lines: list[str]) -> list[str]:
    rest = len(lines) - MOST
    return lines if rest <= 0 else [*lines[:MOST], f"{name}: {rest:,} more of this kind."]


# -- for people


def _explained(table: _Table, address: Address, default: Callable[[], str]) -> list[str]:
    """See Routes.explain."""
    winner = table.first(address)
    best = table.bindings[winner[1]] if winner else None
    lines = [
        f"{best.agent_id} answers: {best.match_key} is {_shown(best.match_value)}."
        if best
        else f"{default()} answers: no binding matches."
    ]
    said = (
        f"the peer is {_shown(f'{address.channel}:{address.peer}')}",
        f"the guild is {_shown(address.guild)}" if address.guild else "it was said in no guild",
        f"the account is {_shown(address.account)}" if address.account else "it has no account",
        f"the channel is {_shown(address.channel)}",
        "",
    )
    for tier, values in enumerate(_values(address), 1):
        here = [each for each in table.bindings if each.tier == tier]
        matching = sorted(
            (each for each in here if each.match_value in values), key=lambda each: (each is not best, -each.priority)
        )
        others = [each for each in here if each.match_value not in values]
        lines.append(f"tier {tier}, {KEYS[tier - 1]}:{'' if here else ' no bindings'}")
        lines += [f"  {_line(each)}: {_verdict(each, best, table.agents)}" for each in matching[:MOST]]
        lines += [f"  {_line(each)}: does not match, {said[tier - 1]}" for each in others[:MOST]]
        for rest, what in ((len(matching) - MOST, "match, but do not answer"), (len(others) - MOST, "do not match")):
            if rest > 0:
                lines.append(f"  {rest:,} more {what}")
    return lines


def _line(each: Binding) -> str:
    return f"{_shown(each.match_value)} -> {each.agent_id}, priority {each.priority}"


def _verdict(each: Binding, best: Binding | None, agents: Collection[str]) -> str:
    """What becomes of a each that matches."""
    if each is best:
        return "matches, and answers"
    if each.agent_id not in agents or best is None:
        return f"matches, but there is no agent {each.agent_id}"
    if each.tier > best.tier:
        return f"matches, but tier {best.tier} comes first"
    return f"matches, but {'has a lower priority' if each.priority < best.priority else 'comes later in the file'}"


def _shown(text: str) -> str:
    text = text if len(text) <= 80 else f"{text[:79]}…"
    return text if text.isprintable() else repr(text)
