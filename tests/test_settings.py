"""Environment, .env and command line -> Settings, or one line for each variable at fault."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentkit import dotenv
from agentkit.errors import SettingsError
from agentkit.settings import VARIABLES, Settings, child_environment, load

KEY = "sk-0123456789abcdef"
FOUR = {
    "LLM_MODEL": "gpt-4o",
    "LLM_BASE_URL": "https://api.openai.com/v1",
    "LLM_API_KEY": KEY,
    "LLM_CONTEXT_WINDOW": "128000",
}
NAMES = [variable.name.replace("<n>", "1") for variable in VARIABLES]
EXAMPLE = Path(__file__).parents[1] / ".env.example"


def problems(environ: dict[str, str], cwd: Path, **more: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(environ, cwd, **more)
    assert all("\n" not in line and line.isprintable() for line in caught.value.problems)
    return caught.value.problems


def problem(name: str, value: str, cwd: Path) -> str:
    """The one problem that this value makes."""
    (line,) = problems({**FOUR, name: value}, cwd)
    assert line.startswith(f"{name} ")
    assert f"for example {name}=" in line
    return line


# -- where values come from


def test_the_four_are_enough_and_the_rest_has_defaults(tmp_path: Path) -> None:
    assert load(FOUR, tmp_path) == Settings("gpt-4o", "https://api.openai.com/v1", KEY, 128_000)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=debug\nMAX_TURNS=2\nMAX_MODEL_CALLS=3\n")
    environ = {**FOUR, "LOG_LEVEL": "warn", "MAX_TURNS": "4"}
    settings = load(environ, tmp_path, overrides={"LOG_LEVEL": "error"})
    assert (settings.log_level, settings.max_turns, settings.max_model_calls) == ("error", 4, 3)
    assert settings.env_file == tmp_path / ".env"


def test_the_file_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("".join(f'export {name}="{value}" # mine\r\n' for name, value in FOUR.items()))
    settings = load({}, tmp_path)
    assert (settings.llm_api_key, settings.llm_context_window, settings.demo) == (KEY, 128_000, False)


def test_a_blank_variable_lets_the_next_source_speak(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=from-file\nWORKSPACE_DIR=${BASE:-/srv}/w\n")
    settings = load(
        {**FOUR, "LLM_MODEL": " \t", "WORKSPACE_DIR": "", "BASE": ""}, tmp_path, overrides={"LLM_MODEL": ""}
    )
    assert (settings.llm_model, settings.workspace_dir) == ("from-file", Path("/srv/w"))


def test_folders_above_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=x")
    (tmp_path / "below").mkdir()
    settings = load({}, tmp_path / "below")
    assert settings.demo and settings.env_file is None


def test_a_given_file_replaces_the_one_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("broken line")
    (tmp_path / "other").write_text("LOG_LEVEL=error")
    settings = load(FOUR, tmp_path, env_file=Path("other"))
    assert (settings.log_level, settings.env_file) == ("error", tmp_path / "other")


def test_a_given_file_must_be_a_file_that_can_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin1").write_bytes(b"A=\xe4")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    for name in ("missing", "pipe", "latin1", "loop", "folder", "missing/deeper", "latin1/deeper"):
        for environ in ({}, FOUR):
            (line,) = problems(environ, tmp_path, env_file=Path(name))
            assert name in line


def test_what_is_wrong_with_the_file_in_the_folder_is_said_too(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    os.mkfifo(path)
    assert "pipe" in problems({}, tmp_path)[0]
    path.unlink()
    path.symlink_to("nowhere")
    assert "does not exist" in problems({}, tmp_path)[0]
    path.unlink()
    path.write_text('A=1\nB="x')
    assert problems({}, tmp_path)[0].startswith(".env line 2 ")
    path.unlink()
    path.mkdir()
    assert "folder" in problems({}, tmp_path)[0]


def test_a_virtual_environment_called_dot_env_is_none_of_our_business(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    (tmp_path / ".env/pyvenv.cfg").touch()
    assert load(FOUR, tmp_path).env_file is None


# -- required together


def test_with_none_of_the_four_it_is_the_demo(tmp_path: Path) -> None:
    settings = load({"LLM_MODEL": "", "LLM_API_KEY": " ", "LLM_BASE_URL": '""', "MAX_TURNS": "3"}, tmp_path)
    assert settings.demo and settings.max_turns == 3
    assert (settings.llm_model, settings.llm_base_url, settings.llm_api_key, settings.llm_context_window) == (
        "",
        "",
        "",
        0,
    )
    assert settings.secrets == ()
    assert replace(settings, llm_base_url="http://127.0.0.1:1").demo


@pytest.mark.parametrize("present", FOUR)
def test_with_some_of_the_four_each_other_one_is_named(tmp_path: Path, present: str) -> None:
    lines = problems({present: FOUR[present]}, tmp_path)
    assert [line.split(" ")[0] for line in lines] == [name for name in FOUR if name != present]
    assert all(" is missing: " in line and re.search(r"for example [A-Z_]+=\S", line) for line in lines)


def test_everything_wrong_is_said_in_one_go(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_TURNS=none\n")
    lines = problems({"LLM_MODEL": "m", "LLM_CONTEXT_WINDOW": "big", "LOG_LEVEL": "loud"}, tmp_path)
    assert [line.split(" ")[0] for line in lines] == [
        "LLM_BASE_URL",
        "LLM_API_KEY",
        "LLM_CONTEXT_WINDOW",
        "LOG_LEVEL",
        "MAX_TURNS",
    ]


def test_nothing_is_called_missing_that_a_broken_file_may_hold(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=m\nLLM_BASE_URL: http://h\nLLM_CONTEXT_WINDOW=big")
    lines = problems({}, tmp_path)
    assert [line[:11] for line in lines] == [".env line 2", "LLM_CONTEXT"]


def test_a_problem_says_where_the_value_came_from(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\nMAX_TURNS=none\n")
    environ = {**FOUR, "TOOL_APPROVAL": "yes"}
    lines = problems(environ, tmp_path, overrides={"LOG_LEVEL": "loud"})
    assert [re.findall(r"\((.*?)\)", line)[0] for line in lines] == ["command line", "environment", ".env line 2"]


def test_an_empty_key_with_the_others_set_means_none_is_needed(tmp_path: Path) -> None:
    environ = {name: value for name, value in FOUR.items() if name != "LLM_API_KEY"}
    for empty in ("", "  ", '""'):
        settings = load({**environ, "LLM_API_KEY": empty}, tmp_path)
        assert (settings.llm_api_key, settings.demo, settings.secrets) == ("", False, ())
    (tmp_path / ".env").write_text("LLM_API_KEY=\n")
    assert load(environ, tmp_path).llm_api_key == ""
    (tmp_path / ".env").write_text("LLM_API_KEY\n")
    (line,) = problems(environ, tmp_path)
    assert "LLM_API_KEY= (empty) for a local server" in line


# -- what a value may be


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080",
        "https://api.openai.com/v1/",
        "HTTPS://API.example.org/v1/chat/completions",
        "http://[::1]:11434/v1",
        "http://my_server:80",
        "http://bücher.example/v1",
        "http://10.0.0.1/a@b:c",
    ],
)
def test_these_urls_are_taken_as_they_are(tmp_path: Path, url: str) -> None:
    assert load({**FOUR, "LLM_BASE_URL": url}, tmp_path).llm_base_url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8080/v1", "http://"),
        ("api.openai.com", "http://"),
        ("ftp://host/v1", "http://"),
        ("http:/host", "http://"),
        (KEY, "http://"),
        ("http://", "host"),
        ("https:///v1", "host"),
        ("http://:8080", "host"),
        ("http://http://host", "host"),
        ("http://host:", "host"),
        ("http://host:80:80", "host"),
        ("http://host:eighty", "host"),
        ("http://host:８０", "host"),
        ("http://ho,st", "host"),
        ("http://host\\v1", "host"),
        ("http://[::1", "host"),
        ("http://[::1]8080", "host"),
        ("http://[zz]:80", "host"),
        ("http://host..name", "host"),
        ("http://host:0", "port"),
        ("http://host:65536/v1", "port"),
        ("http://host/v 1", "character 14"),
        ("http://host\n/v1", "character 12"),
        ("http://ho\u200bst/v1", "character 10"),
        ("http://host/v1?key=" + KEY, "LLM_API_KEY"),
        ("http://host/v1?", "?"),
        ("http://host/v1#x", "#"),
        (f"http://me:{KEY}@host/v1", "put the key in LLM_API_KEY"),
        (f"http://{KEY}@host/v1", "put the key in LLM_API_KEY"),
        (f"http://me:{KEY}@host/v1?x", "password"),
    ],
)
def test_these_urls_are_refused_without_being_shown(tmp_path: Path, url: str, words: str) -> None:
    line = problem("LLM_BASE_URL", url, tmp_path)
    assert words in line and KEY not in line


def test_pasted_quotes_and_blanks_around_values_are_dropped(tmp_path: Path) -> None:
    environ = {name: f' "{value}"\n' for name, value in FOUR.items()}
    assert load(environ, tmp_path) == load(FOUR, tmp_path)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("Bearer sk-secret", "drop it"),
        ("bearer\tsk-secret", "drop it"),
        ("Bearer ", "drop it"),
        ("sk-secret sk-secret", "character 10 "),
        ("sk-\nsecret", "character 4 "),
        ("sk\x00-secret", "character 3 "),
        ("sk-secret\x7f", "character 10 "),
        ("sk-secret…", "character 10 "),
        ("\u200bsk-secret", "character 1 "),
        ("sk-\udce4secret", "character 4 "),
        ("sk\u00a0secret", "character 3 "),
    ],
)
def test_a_key_that_no_header_can_hold_is_refused_and_never_shown(tmp_path: Path, key: str, words: str) -> None:
    line = problem("LLM_API_KEY", key, tmp_path)
    assert words in line and "secret" not in line


def test_a_key_is_taken_without_the_blanks_around_it_and_stays_out_of_repr(tmp_path: Path) -> None:
    settings = load({**FOUR, "LLM_API_KEY": f" {KEY}é\n"}, tmp_path)
    assert settings.secrets == (KEY + "é",)
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("1000", 1000), ("128_000", 128_000), ("128k", 128_000), ("200K", 200_000), ("1M", 1_000_000), (" '8 k' ", 8000)],
)
def test_a_context_window_may_be_written_as_people_do(tmp_path: Path, text: str, tokens: int) -> None:
    assert load({**FOUR, "LLM_CONTEXT_WINDOW": text}, tmp_path).llm_context_window == tokens


@pytest.mark.parametrize(
    "text",
    [
        "999",
        "0",
        "-128000",
        "128,000",
        "1.5k",
        "128kb",
        "k",
        "1e5",
        "many",
        "１２８０００",
        "_1000",
        "9" * 5000,
        "9999M",
    ],
)
def test_other_context_windows_are_refused_with_what_would_do(tmp_path: Path, text: str) -> None:
    line = problem("LLM_CONTEXT_WINDOW", text, tmp_path)
    assert "from 1000" in line and "128k" in line and len(line) < 300


@pytest.mark.parametrize("name", ["MAX_TURNS", "MAX_MODEL_CALLS"])
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "99999999999"])
def test_limits_are_whole_numbers_from_one(tmp_path: Path, name: str, text: str) -> None:
    assert "from 1 to" in problem(name, text, tmp_path)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "1e999", "soon", "1e10", "2 min"])
def test_a_timeout_is_a_number_of_seconds_that_timers_can_hold(tmp_path: Path, text: str) -> None:
    assert "seconds" in problem("LLM_TIMEOUT", text, tmp_path)


def test_a_timeout_may_be_a_fraction(tmp_path: Path) -> None:
    assert load({**FOUR, "LLM_TIMEOUT": "0.5"}, tmp_path).llm_timeout == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": }', "line 1, column 7"),
        ('{"a": 1,\n"b"}', "line 2, column 4"),
        ("temperature=1", "line 1, column 1"),
        ('[{"a": 1}]', "a list"),
        ("3", "a single value"),
        ("null", "a single value"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1e999}', "cannot carry"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a":' * 100_000, "nesting"),
        ('{"a": ' + "9" * 5000 + "e999}", "cannot carry"),
        ('{"stream": false, "n": 2, "x": 1}', "must not set stream, n:"),
    ],
)
def test_extra_fields_must_be_a_json_object_that_leaves_the_protocol_alone(
    tmp_path: Path, text: str, words: str
) -> None:
    line = problem("LLM_EXTRA", text, tmp_path)
    assert words in line and len(line) < 300


@pytest.mark.parametrize("name", ["model", "messages", "tools", "stream", "stream_options", "n"])
def test_what_agentkit_sets_itself_cannot_be_an_extra_field(tmp_path: Path, name: str) -> None:
    assert name in problem("LLM_EXTRA", f'{{"{name}": null}}', tmp_path)


def test_extra_fields_are_read_from_the_file_as_written(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('LLM_EXTRA={"temperature": 0.2, "stop": ["#"]}\n')
    assert load(FOUR, tmp_path).llm_extra == {"temperature": 0.2, "stop": ["#"]}


def test_the_workspace_is_absolute_with_the_home_folder_filled_in(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.getuid())
    for given, expected in [
        ("w", tmp_path / "w"),
        ("/srv/w", Path("/srv/w")),
        ("~", Path("/home/x")),
        ("~/w", Path("/home/x/w")),
        (f"~{me.pw_name}/w", Path(me.pw_dir, "w")),
        ("./~", tmp_path / "~"),
        ("a b\udce4", tmp_path / "a b\udce4"),
    ]:
        assert load({"WORKSPACE_DIR": given, "HOME": "/home/x"}, tmp_path).workspace_dir == expected
    assert load({}, tmp_path).workspace_dir is None
    for given in ("~nobody-of-this-name/w", "a\0b"):
        problem("WORKSPACE_DIR", given, tmp_path)


@pytest.mark.parametrize("name", ["LLM_MODEL"])
@pytest.mark.parametrize("text", ["a\nb", "a\x1bb", "a\udce4"])
def test_names_are_one_line_of_printable_text(tmp_path: Path, name: str, text: str) -> None:
    problem(name, text, tmp_path)


@pytest.mark.parametrize(
    ("level", "old", "expected"),
    [
        ("DEBUG", "", "debug"),
        ("warning", "", "warn"),
        ("Warn", "error", "warn"),
        ("", "error", "error"),
        ("", "WARN", "warn"),
        ("", "info,hyper=warn", "info"),
        ("", "debug , x", "debug"),
        ("", "warning/foo", "warn"),
        ("", "off", "info"),
        ("", "trace", "info"),
        ("", "debugger", "info"),
        ("", "error=debug", "info"),
        ("", "hyper=warn,debug", "info"),
        ("", "\0", "info"),
    ],
)
def test_the_log_level_and_its_old_name(tmp_path: Path, level: str, old: str, expected: str) -> None:
    assert load({**FOUR, "LOG_LEVEL": level, "RUST_LOG": old}, tmp_path).log_level == expected


def test_choices_are_listed_when_none_of_them_is_taken(tmp_path: Path) -> None:
    assert "debug, info, warn, error" in problem("LOG_LEVEL", "trace", tmp_path)
    assert "ask, auto, trust" in problem("TOOL_APPROVAL", "never", tmp_path)
    assert load({"TOOL_APPROVAL": "Trust"}, tmp_path).tool_approval == "trust"


# They may be any word.
FREE = (
    *("LLM_API_KEY", "LLM_API_KEY_1", "LLM_MODEL", "LLM_FALLBACK_MODELS", "DEFAULT_AGENT"),
    *("GATEWAY_HOST", "GATEWAY_TOKEN", "DISCORD_BOT_TOKEN", "UNATTENDED_TOOLS"),
)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FREE])
def test_a_key_pasted_into_the_wrong_line_is_not_shown(tmp_path: Path, name: str) -> None:
    for key, value in [("sk-short", "sk-short"), (KEY, f"~{KEY}"), ("", "sk-0123456789-other-key-of-mine")]:
        if name == "WORKSPACE_DIR":
            value = f"~{value}"
        (line,) = problems({**FOUR, "LLM_API_KEY": key, "LLM_API_KEY_1": "sk-1", name: value}, tmp_path)
        assert "sk-" not in line


# -- more keys and models

HERE, THERE = FOUR["LLM_BASE_URL"], "http://localhost:8080/v1"


def more(environ: dict[str, str], cwd: Path) -> list[tuple[int, str, str]]:
    """The keys beside the first, in the order they are tried."""
    first, *others = load({**FOUR, **environ}, cwd).profiles
    assert (first.number, first.base_url, first.api_key) == (0, HERE, KEY)
    return [(each.number, each.base_url, each.api_key) for each in others]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"LLM_API_KEY_1": "one"}, [(1, HERE, "one")]),
        ({"LLM_API_KEY_1": KEY}, [(1, HERE, KEY)]),
        (
            {"LLM_API_KEY_10": "ten", "LLM_API_KEY_9": "nine", "LLM_API_KEY_2": "two"},
            [(2, HERE, "two"), (9, HERE, "nine"), (10, HERE, "ten")],
        ),
        ({"LLM_API_KEY_20261122": "late", "LLM_API_KEY_3": "three"}, [(3, HERE, "three"), (20261122, HERE, "late")]),
        ({"LLM_API_KEY_2": " two ", "LLM_BASE_URL_2": f" {THERE} "}, [(2, THERE, "two")]),
        ({"LLM_API_KEY_2": "two", "LLM_BASE_URL_2": " "}, [(2, HERE, "two")]),
        ({"LLM_API_KEY_2": "", "LLM_BASE_URL_2": THERE}, [(2, THERE, "")]),
        ({"LLM_API_KEY_2": "''", "LLM_BASE_URL_2": THERE}, [(2, THERE, "")]),
        ({"LLM_API_KEY_1": "", "LLM_API_KEY_2": " ", "LLM_API_KEY_3": "three"}, [(3, HERE, "three")]),
        ({"LLM_API_KEY_1": " ", "LLM_BASE_URL_1": "", "LLM_BASE_URL_2": " "}, []),
        ({"LLM_API_KEY_0": "", "LLM_API_KEY_01": " ", "LLM_BASE_URL_00": "''"}, []),
        ({"LLM_API_KEY_": "x", "LLM_API_KEY_A": "x", "LLM_API_KEY_1A": "x", "LLM_API_KEY_-1": "x"}, []),
        ({"llm_api_key_1": "x", "LLM_API_KEY_\u0661": "x", "MY_LLM_API_KEY_1": "x", "LLM_API_KEYS_1": "x"}, []),
    ],
)
def test_more_keys_come_in_the_order_of_their_numbers_with_gaps_or_without(
    tmp_path: Path, given: dict[str, str], expected: list[tuple[int, str, str]]
) -> None:
    assert more(given, tmp_path) == expected
    (tmp_path / ".env").write_text("".join(f'export {name}="{value}"\n' for name, value in given.items()))
    assert more({}, tmp_path) == expected


@pytest.mark.parametrize(
    ("environ", "file", "expected"),
    [
        ({"LLM_API_KEY_1": "mine"}, {"LLM_API_KEY_1": "one", "LLM_BASE_URL_1": THERE}, [(1, THERE, "mine")]),
        ({"LLM_BASE_URL_1": THERE}, {"LLM_API_KEY_1": "one", "LLM_BASE_URL_1": HERE}, [(1, THERE, "one")]),
        ({"LLM_API_KEY_1": " "}, {"LLM_API_KEY_1": "one"}, [(1, HERE, "one")]),
        ({"LLM_API_KEY_1": ""}, {"LLM_API_KEY_1": "one", "LLM_BASE_URL_1": THERE}, [(1, THERE, "")]),
        ({"LLM_BASE_URL_1": ""}, {"LLM_API_KEY_1": "one", "LLM_BASE_URL_1": THERE}, [(1, THERE, "one")]),
        ({"LLM_API_KEY_3": "three"}, {"LLM_API_KEY_1": "one"}, [(1, HERE, "one"), (3, HERE, "three")]),
        ({"LLM_BASE_URL_1": THERE, "LLM_API_KEY_1": "one"}, {"LLM_API_KEY_1": "bad key"}, [(1, THERE, "one")]),
    ],
)
def test_the_environment_wins_for_each_name_and_a_blank_one_lets_the_file_speak(
    tmp_path: Path, environ: dict[str, str], file: dict[str, str], expected: list[tuple[int, str, str]]
) -> None:
    (tmp_path / ".env").write_text("".join(f'{name}="{value}"\n' for name, value in file.items()))
    assert more(environ, tmp_path) == expected


@pytest.mark.parametrize("name", ["LLM_API_KEY_0", "LLM_API_KEY_01", "LLM_API_KEY_007", "LLM_BASE_URL_0"])
@pytest.mark.parametrize("from_file", [True, False])
def test_a_number_that_is_none_is_told_with_those_that_are(tmp_path: Path, name: str, from_file: bool) -> None:
    given = {name: "sk-secret", "LLM_API_KEY_2": "two"}
    if from_file:
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    (line,) = problems({**FOUR, **({} if from_file else given)}, tmp_path)
    stem = name.rpartition("_")[0]
    assert line.startswith(f"{name} ") and f"{stem}_1" in line and "secret" not in line


@pytest.mark.parametrize("from_file", [True, False])
def test_an_address_without_a_key_is_named_with_what_to_set(tmp_path: Path, from_file: bool) -> None:
    given = {"LLM_BASE_URL_3": THERE, "LLM_BASE_URL_12": THERE, "LLM_API_KEY_2": "two"}
    if from_file:
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    lines = problems({**FOUR, **({} if from_file else given)}, tmp_path)
    assert [line.split(" ")[0] for line in lines] == ["LLM_BASE_URL_3", "LLM_BASE_URL_12"]
    assert "LLM_API_KEY_3= (empty)" in lines[0] and "LLM_API_KEY_12= (empty)" in lines[1]


def test_every_key_and_address_is_checked_as_the_first_is(tmp_path: Path) -> None:
    environ = {
        "LLM_API_KEY_1": "Bearer sk-secret",
        "LLM_API_KEY_2": "sk-secret",
        "LLM_BASE_URL_2": "ftp://sk-secret",
        "LLM_API_KEY_3": "sk-secret sk-secret",
        "LLM_BASE_URL_3": "http://me:sk-secret@host/v1",
    }
    lines = problems({**FOUR, **environ}, tmp_path)
    assert sorted(line.split(" ")[0] for line in lines) == [
        "LLM_API_KEY_1",
        "LLM_API_KEY_3",
        "LLM_BASE_URL_2",
        "LLM_BASE_URL_3",
    ]
    assert all("(environment)" in line and "secret" not in line for line in lines)
    assert "drop it" in lines[0]


def test_no_key_is_ever_shown(tmp_path: Path) -> None:
    keys = {"LLM_API_KEY": "sk-one", "LLM_API_KEY_1": "sk-two", "LLM_API_KEY_4": "sk-three"}
    settings = load({**FOUR, **keys, "LLM_API_KEY_5": "", "LLM_BASE_URL_5": THERE}, tmp_path)
    assert settings.secrets == ("sk-one", "sk-two", "sk-three")
    shown = f"{settings!r} {settings.profiles!r} {settings.profiles[1]} {settings.llm_more_profiles}"
    assert "LLM" not in shown and "sk-" not in shown and THERE in shown
    for name in ("LOG_LEVEL", "MAX_TURNS", "LLM_TIMEOUT", "LLM_BASE_URL_1", "LLM_CONTEXT_WINDOW"):
        for key in keys.values():
            assert "sk-" not in "".join(problems({**FOUR, **keys, name: key}, tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" , ,", ()),
        ("one", ("one",)),
        (" one , vendor/two:latest,three 3,", ("one", "vendor/two:latest", "three 3")),
        ("b,a,b,c,a", ("b", "a", "c")),
        ('"one, two"', ("one", "two")),
        ("gpt-4o", ("gpt-4o",)),
    ],
)
def test_models_to_fall_back_to_keep_their_order_each_once(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    assert load({**FOUR, "LLM_FALLBACK_MODELS": text}, tmp_path).llm_fallback_models == expected
    (tmp_path / ".env").write_text(f"LLM_FALLBACK_MODELS={text}\n")
    assert load(FOUR, tmp_path).llm_fallback_models == expected


@pytest.mark.parametrize("text", ["a,b\nc", "a\x1b", "a,\udce4", "a\0"])
def test_models_to_fall_back_to_are_printable(tmp_path: Path, text: str) -> None:
    problem("LLM_FALLBACK_MODELS", text, tmp_path)


def test_more_keys_alone_do_not_end_the_demo(tmp_path: Path) -> None:
    settings = load({"LLM_API_KEY_1": KEY, "LLM_FALLBACK_MODELS": "m"}, tmp_path)
    assert settings.demo and settings.secrets == (KEY,)


# -- the gateway


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", "localhost"),
        ("0.0.0.0", "0.0.0.0"),
        ("my-server.example.org", "my-server.example.org"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("0:0::0:1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_the_gateway_listens_at_a_name_or_an_address(tmp_path: Path, text: str, expected: str) -> None:
    assert load({**FOUR, "GATEWAY_HOST": text}, tmp_path).gateway_host == expected


@pytest.mark.parametrize("text", ["http://localhost", "localhost:8765", "[::1]:80", ":::", "a b", "a/b", "*", "a..b"])
def test_what_is_no_name_and_no_address_of_a_machine_is_refused(tmp_path: Path, text: str) -> None:
    assert "of this machine" in problem("GATEWAY_HOST", text, tmp_path)


@pytest.mark.parametrize("text", ["-1", "65536", "http", "80.0"])
def test_a_port_is_a_number_that_there_is(tmp_path: Path, text: str) -> None:
    assert "from 0 to 65535" in problem("GATEWAY_PORT", text, tmp_path)


@pytest.mark.parametrize("text", ["Bearer secret", "sec ret", "secret\n1", "secreté", "secret\x7f"])
def test_a_token_that_not_every_client_can_send_is_refused_and_never_shown(tmp_path: Path, text: str) -> None:
    assert "secret" not in problem("GATEWAY_TOKEN", text, tmp_path)


def test_the_token_of_the_gateway_is_a_secret(tmp_path: Path) -> None:
    settings = load({**FOUR, "GATEWAY_TOKEN": "gw-token"}, tmp_path)
    assert settings.gateway_token == "gw-token" and settings.secrets == (KEY, "gw-token")
    assert "gw-token" not in repr(settings)
    environ = {"GATEWAY_TOKEN": "gw-token", "OTHER": "x gw-token", "MINE": "x"}
    assert child_environment(environ, settings) == {"MINE": "x"}
    assert "gw-token" not in "".join(problems({**FOUR, "GATEWAY_TOKEN": "gw-token", "MAX_TURNS": "gw-token"}, tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("https://a.example", ("https://a.example",)),
        ("HTTPS://A.Example/ , http://localhost:3000,", ("https://a.example", "http://localhost:3000")),
        ("https://a.example:443, http://b:80, https://b:80", ("https://a.example", "http://b", "https://b:80")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
        ("chrome-extension://abcdefghijklmnop", ("chrome-extension://abcdefghijklmnop",)),
    ],
)
def test_origins_are_kept_as_browsers_send_them(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert load({**FOUR, "GATEWAY_ORIGINS": text}, tmp_path).gateway_origins == expected


@pytest.mark.parametrize("text", ["*", "null", "a.example", "https://a.example/path", "https://", "https://é.example"])
def test_what_no_browser_sends_as_an_origin_is_refused(tmp_path: Path, text: str) -> None:
    assert "origins" in problem("GATEWAY_ORIGINS", f"https://a.example,{text}", tmp_path)


@pytest.mark.parametrize("text", ["0", "-1", "many", "100001"])
def test_the_gateway_takes_one_client_at_least(tmp_path: Path, text: str) -> None:
    assert "from 1 to 100000" in problem("GATEWAY_MAX_CLIENTS", text, tmp_path)


# -- child processes


def test_child_processes_get_no_key_under_any_name(tmp_path: Path) -> None:
    settings = load(FOUR, tmp_path)
    kept = {"PATH": "/bin", "LLM_MODEL": "gpt-4o", "EMPTY": "", "OTHER": "sk-"}
    environ = {
        **kept,
        "LLM_API_KEY": KEY,
        "LLM_API_KEY_2": "second-key",
        "LLM_API_KEYS": "x",
        "DISCORD_BOT_TOKEN": "a",
        "GATEWAY_TOKEN": "b",
        "COPY": KEY,
        "HEADER": f"Authorization: Bearer {KEY}\n",
        "SECOND": "second-key",
    }
    assert child_environment(environ, settings) == kept


def test_child_processes_get_none_of_the_keys_that_only_the_file_has(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_API_KEY_1=sk-of-the-file-1\nLLM_API_KEY_30=sk-of-the-file-30\n")
    settings = load(FOUR, tmp_path)
    kept = {"PATH": "/bin", "LLM_BASE_URL_1": THERE, "LLM_FALLBACK_MODELS": "m"}
    environ = {"COPY": "sk-of-the-file-1", "HEADER": "Bearer sk-of-the-file-30", "LLM_API_KEY_7": "", **kept}
    assert child_environment(environ, settings) == kept


def test_a_made_up_key_does_not_take_the_rest_of_the_environment_along(tmp_path: Path) -> None:
    environ = {"PATH": "/home/x/.ollama/bin", "EDITOR": "vi", "EMPTY": ""}
    for key in ("", "x", "i", "ollama"):
        assert child_environment(environ, load({**FOUR, "LLM_API_KEY": key}, tmp_path)) == environ


# -- one source for all that names the settings


def test_the_example_file_leads_to_the_demo(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(EXAMPLE.read_bytes())
    assert load({}, tmp_path) == replace(load({}, tmp_path / "none"), env_file=tmp_path / ".env")


def test_the_example_file_names_exactly_the_variables_there_are_with_their_help() -> None:
    lines = EXAMPLE.read_text().splitlines()
    assignments = [number for number, line in enumerate(lines) if re.match(r"#?[A-Z0-9_]+=", line)]
    assert [lines[number].split("=")[0].lstrip("#") for number in assignments] == NAMES
    for number, name, variable in zip(assignments, NAMES, VARIABLES, strict=True):
        assert lines[number - 1].startswith(f"# {variable.help}")
        assert lines[number] == ("" if name in FOUR else "#") + f"{name}={variable.default}"
    assert set(dotenv.parse(EXAMPLE.read_text(), {}).entries) == set(FOUR)


def test_the_documented_defaults_are_the_defaults_and_the_examples_work(tmp_path: Path) -> None:
    defaults = {**FOUR, **{variable.name: variable.default for variable in VARIABLES if variable.default}}
    assert load(defaults, tmp_path) == replace(load(FOUR, tmp_path), workspace_dir=tmp_path / "workspace")
    load({name: variable.example for name, variable in zip(NAMES, VARIABLES, strict=True)}, tmp_path)


def test_every_variable_is_read(tmp_path: Path) -> None:
    spoiled = {name: "~no body\0" for name in NAMES}
    assert [line.split(" ")[0] for line in problems(spoiled, tmp_path)] == NAMES


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        load({}, tmp_path).llm_model = "x"  # type: ignore[misc]
