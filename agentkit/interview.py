"""The questions that lead to a model which answers: server, key, model, context window, and a trial of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from . import probe
from .dialogue import ask, ask_secretly, choose, say
from .envfile import Envfile
from .errors import LLMError, SettingsError
from .printable import printable
from .servers import SERVERS, Server, answering
from .settings import VARIABLES, Settings, load

URL, KEY, MODEL, WINDOW = ASKED = ("LLM_BASE_URL", "LLM_API_KEY", "LLM_MODEL", "LLM_CONTEXT_WINDOW")
NO_KEY = "-"
GUESS = "32k"  # most models of today take as much; what is too long for one is compacted
SHOWN = 15  # models at a time

_EXAMPLES = {each.name: each.example for each in VARIABLES if each.name in ASKED}
_AT_FAULT = {"auth": KEY, "billing": KEY, "model_not_found": MODEL, "bad_request": MODEL}
_NO_LIST = (400, 403, 404, 405, 501)  # statuses of a server, or for a key, that cannot list models, but may answer


def meant(values: Mapping[str, str], environ: Mapping[str, str] = {}, cwd: Path = Path(os.sep)) -> Settings:
    """What settings make of these values, given as text. Raises SettingsError, in their words."""
    try:
        return load(environ, cwd, env_file=Path(os.devnull), overrides={**_EXAMPLES, **values})
    except SettingsError as error:
        raise SettingsError([each.replace(" (command line)", "", 1) for each in error.problems]) from None


def wrong(name: str, text: str) -> str:
    """Why settings do not take this value, "" where they do."""
    try:
        meant({name: text})
    except SettingsError as error:
        return error.problems[0]
    return ""


def is_set(env: Envfile, name: str) -> bool:
    """Does the file set it? A blank key, too, beside a server: none is needed; else it is only not filled in yet."""
    if name == KEY and name in env.found.entries and not wrong(URL, env.text(URL)):
        return True
    return bool(env.text(name).strip())


def kept(env: Envfile) -> dict[str, str]:
    """What the file sets, and settings can use."""
    return {name: env.text(name) for name in ASKED if is_set(env, name) and not wrong(name, env.text(name))}


class Interview:
    """env: what is set already, and stays so; environ: where other answers may be, to be taken over."""

    def __init__(self, env: Envfile, environ: Mapping[str, str]) -> None:
        self._env, self._kept = env, kept(env)
        usable = {name: text.strip() for name in ASKED if not wrong(name, text := environ.get(name, ""))}
        self._suggested = {name: text for name, text in usable.items() if name != KEY}
        self._keys = {self._suggested.get(URL, ""): usable.get(KEY, "")}  # by the server that each is for
        self._answers: dict[str, str] = {}
        self._models: Sequence[probe.Model] = ()
        self._server: Server | None = None
        self._is_tried = True  # False: it does not work, and is wanted as it is

    def answers(self) -> dict[str, str]:
        """Ask for what is not set yet until it works, or is wanted as it is; what is to be written, empty for the demo
        model. Raises EOFError and KeyboardInterrupt, where the person has left."""
        self._say_what_is_set()
        self._answers = dict(self._kept)
        while True:
            try:
                if URL not in self._answers and not self._ask_server():
                    return {}
                if KEY not in self._answers:
                    self._ask_key()
                if not {MODEL, WINDOW} <= set(self._answers):
                    self._list_models()
                if MODEL not in self._answers:
                    self._ask_model()
                if WINDOW not in self._answers:
                    self._ask_window()
                if self._is_tried:
                    self._try()
                return {name: text for name, text in self._answers.items() if self._kept.get(name) != text}
            except LLMError as error:
                self._amend(error)

    # -- what is there already

    def _say_what_is_set(self) -> None:
        for name in ASKED:
            if name in self._kept:
                say(f"{name} is in {self._env.label} already: kept.")
            elif is_set(self._env, name):
                why = wrong(name, self._env.text(name))
                say(f"{self._env.label} line {self._env.line(name)}: {why}. A line below it will take its place.")

    # -- the questions

    def _ask_server(self) -> bool:
        """False: none for now."""
        say("Looking for servers on this machine ...")
        here = answering(each.url for each in SERVERS if not each.keys)
        width = max(len(each.name) for each in SERVERS)
        options = [
            f"{each.name:{width}} {each.url}" + (" - answers now" if each.url in here else "") for each in SERVERS
        ]
        options += [f"{'another':{width}} its URL"]
        if not self._kept:
            options += [f"{'none':{width}} for now: the built-in demo"]
        say()
        suggested = self._suggested.get(URL, "")
        known = [each.url for each in SERVERS]
        likely = [url for url in known if url in ({suggested} if suggested else here)]
        default = known.index(likely[0]) + 1 if likely else len(known) + 1 if suggested else 1
        number = choose("Which server is the model on?", options, default)
        if number == len(known) + 2:
            return False
        self._server = SERVERS[number - 1] if number <= len(known) else None
        self._answers[URL] = self._server.url if self._server else self._ask(URL, "Its URL:")
        return True

    def _ask_key(self) -> None:
        server = self._server
        where = f" One is had at {server.keys}" if server and server.keys else ""
        url = self._answers[URL]
        suggested = self._keys.get(url) or self._keys.get("", "")
        empty = f"Enter: the one set already; {NO_KEY} for none" if suggested else "Enter: none"
        while True:
            text = ask_secretly(f"Its API key, which is not shown ({empty}).{where}") or suggested
            text = "" if text == NO_KEY else text
            if not (why := wrong(KEY, text)):
                break
            say(f"{why}.")
        text = meant({KEY: text}).llm_api_key
        say(f"A key of {len(text)} characters." if text else "No key.")
        self._answers[KEY] = self._keys[url] = text

    def _list_models(self) -> None:
        """Ask the server for its models: that it can be reached and takes the key shows here first. Raises LLMError."""
        self._models = ()
        if not self._is_tried:
            return
        values = self._values()
        say(f"Asking {urlsplit(values.llm_base_url).netloc} for its models ...")
        try:
            self._models = sorted(probe.models(values.llm_base_url, values.llm_api_key), key=lambda each: each.id)
        except LLMError as error:
            if error.status not in _NO_LIST:
                raise

    def _ask_model(self) -> None:
        """From the list, by number or by name; a part of a name narrows it down."""
        if not self._models:
            say("It does not list its models." if self._is_tried else "Its models are not known.")
            self._answers[MODEL] = self._ask(MODEL, "The model's name, as the server knows it:")
            return
        ids = [each.id for each in self._models]
        found, unlisted = ids, ""
        suggested = self._suggested.get(MODEL, "")
        while True:
            for number, name in enumerate(found[:SHOWN], 1):
                say(f"{number:3}  {name}", indent=" " * 5)
            more = f" ({len(found) - SHOWN} more: type a part of the name)" if len(found) > SHOWN else ""
            default = suggested if suggested in found else found[0] if len(found) == 1 else ""
            text = ask(f"Which model? A number or a name{more}:", printable(default))
            text = default if text == printable(default) else text
            if text not in ids and text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= len(found[:SHOWN]):
                text = found[int(text) - 1]
            if text in ids or (text and text == unlisted):
                break
            alike = [name for name in ids if text.lower() in name.lower()]
            if not alike:
                unlisted = text
                say("It lists no such model. Type the same once more to have it all the same, or a part of another.")
            found = alike or found
        self._answers[MODEL] = self._checked(MODEL, text)

    def _ask_window(self) -> None:
        model = self._answers[MODEL]
        told = next((each.window for each in self._models if each.id == model), None)
        if self._is_tried:
            values = self._values()
            told = probe.window(values.llm_base_url, values.llm_api_key, values.llm_model) or told
        if told and not wrong(WINDOW, str(told)):
            question, default = "Its context window in tokens, as the server tells:", str(told)
        else:
            question = "Its context window in tokens; the server does not tell, its makers do:"
            default = self._suggested.get(WINDOW) or GUESS
        self._answers[WINDOW] = self._ask(WINDOW, question, default)

    def _ask(self, name: str, question: str, default: str = "") -> str:
        return self._checked(name, ask(question, default or self._suggested.get(name, "")))

    def _checked(self, name: str, text: str) -> str:
        """An answer that settings take, as they take it: without quotes, say; asked for until it is one."""
        while why := wrong(name, text):
            text = ask(f"{why}. Once more:")
        self._suggested[name] = str(getattr(meant({name: text}), name.lower()))
        return self._suggested[name]

    # -- does it work?

    def _values(self) -> Settings:
        return meant(self._answers)

    def _try(self) -> None:
        """Send it something to do. Raises LLMError."""
        values = self._values()
        say(f"Trying {values.llm_model} ...")
        trial = probe.trial(values.llm_base_url, values.llm_api_key, values.llm_model)
        can = ["it answers"] + ["streams"] * trial.streams + ["calls tools"] * trial.calls_tools
        say(f"{', '.join(can).capitalize()} ({trial.seconds:.1f} s).")
        if not trial.streams:
            say("It does not stream: answers will come all at once.")
        if not trial.calls_tools:
            say("It has not called a tool: it may talk, but not act. Models differ in this.")

    def _amend(self, error: LLMError) -> None:
        """Have the person change the answer that is at fault, or want it as it is."""
        say(f"That does not work: {error.message}")
        say()
        names = [("another server", URL), ("another key", KEY)]
        names += [("another model", MODEL)] * (MODEL in self._answers)
        fault = _AT_FAULT.get(error.category, "")
        if fault == MODEL and MODEL not in self._answers:
            fault = URL
        default = next((number for number, (_, name) in enumerate(names, 2) if name == fault), 1)
        options = ["try again", *(words for words, _ in names), "keep it as it is"]
        number = choose("What now?", options, default)
        if number == len(options):
            self._is_tried = False
        elif number > 1:
            self._drop(names[number - 2][1])

    def _drop(self, name: str) -> None:
        """Forget an answer, and those that depend on it; they are suggested when they are asked for again."""
        dropped = {URL: ASKED, KEY: (KEY,), MODEL: (MODEL, WINDOW)}[name]
        self._keys[self._answers[URL]] = self._answers[KEY] if name != KEY else ""
        self._suggested |= {each: self._answers.pop(each) for each in dropped if each in self._answers}
        if lines := [str(self._env.line(each)) for each in dropped if each in self._kept]:
            say(f"{self._env.label} line {', '.join(lines)}: a line below takes its place, if the answer is another.")
