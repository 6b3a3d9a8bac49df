"""The workspace: agents found as plain files, what their folders hold, the sample agent that the package carries."""

from __future__ import annotations

import os
import re
import threading
from functools import partial
from pathlib import Path
from pkgutil import get_data
from shutil import rmtree
from typing import TYPE_CHECKING

from . import agentfiles, atomic, frontmatter
from .agentfiles import Agent as Agent
from .agentfiles import Files as Files
from .agentfiles import Memory as Memory
from .agentfiles import Skill as Skill
from .errors import CommandError, SettingsError
from .watch import Found, Problem, Watch, below, markdown, read, those

if TYPE_CHECKING:
    from importlib.abc import Traversable

SAMPLE = "assistant"

LONGEST = 20_000  # characters of a file that stands in the prompt as a whole; the five of them stay below 150,000

BOOTSTRAP = ("USER.md", "BOOTSTRAP.md", "AGENTS.md")
GUIDELINES = "TOOLS.md"


def folder(given: Path | None, cwd: Path) -> Path:
    """The workspace: `given` is made if need be, ./workspace only when there is something to write.

    Raises SettingsError where it cannot be a folder.
    """
    if given is None:
        path = cwd / "workspace"
        if os.path.lexists(path) and not os.path.isdir(path):
            raise SettingsError([f"{path} is no folder. Move it away, or set WORKSPACE_DIR to one."])
        return path
    try:
        given.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise SettingsError(
            [f"WORKSPACE_DIR: {given.parent} does not exist. Make it, or name another folder."]
        ) from None
    except OSError as error:
        if not os.path.isdir(given):
            why = error.strerror or str(error)
            raise SettingsError([f"WORKSPACE_DIR: {given} cannot be a folder ({why}). Name another one."]) from None
    return given


def sample(path: str) -> bytes:
    """A file of the sample workspace: in the package, or beside it in a checkout. Works inside a zipapp too."""
    try:
        found = get_data("agentkit", f"sample/{path}")
    except OSError:
        found = None
    return found if found is not None else (Path(__file__).parent.parent / "workspace" / path).read_bytes()


def shown(path: Path, cwd: Path) -> str:
    """A path as a tool takes it and one line can hold it: relative to `cwd` where it is inside."""
    text = str(path.relative_to(cwd) if path.is_relative_to(cwd) else path)
    return text if text.isprintable() else re.sub("[\x00-\x1f\x7f\ud800-\udfff]", "?", text)


def body(skill: Skill) -> str:
    """What a skill says, without its front matter. Raises CommandError where it cannot be read."""
    try:
        return frontmatter.parse(read(str(skill.path))).body.strip()
    except OSError as error:
        raise CommandError(f"The skill {skill.name} cannot be read: {error.strerror} ({skill.path}).") from None
    except ValueError as error:
        raise CommandError(f"The skill {skill.name} cannot be read: {error} ({skill.path}).") from None


class _Place:
    """What is watched for one agent, and what it came to when something changed last."""

    def __init__(self, texts: Watch[str], memories: Watch[Memory], skills: Watch[Skill], guidelines: str) -> None:
        self.texts, self.memories, self.skills = texts, memories, skills
        self.guidelines = guidelines  # where the folder has none
        self.seen: tuple[object, ...] = ()
        self.files = Files()


class Workspace:
    """root: the folder, which need not exist; cwd: the working directory; home: of the user, whose `.agents/skills`
    counts too. May be used from any thread."""

    def __init__(self, root: Path, cwd: Path, home: Path | None = None) -> None:
        self.root, self.cwd = cwd / root, cwd
        self._folder = self.root / ".agents"
        self._agents = Watch(partial(below, str(self._folder), "AGENT.md"), agentfiles.agent)
        self._looked: Found[Agent] | None = None
        self._registered: dict[str, Agent] = {}
        self._good: dict[str, Agent] = {}  # by path, as they were when they could last be read
        shared = [self.root / "skills"] + ([home / ".agents" / "skills"] if home else [])
        self._shared_skills = [_skills(folder) for folder in shared]
        self._places: dict[tuple[Path, bool], _Place] = {}
        self._sample: Agent | None = None
        self._guests: dict[str, Agent] = {}  # those without files, by id
        self._told: dict[str, Problem] = {}  # by path
        self._told_of_sample = False
        self._notices: list[str] = []
        self._lock = threading.Lock()  # serialises looking: what was seen, and what was told of it, belong together

    def agents(self) -> dict[str, Agent]:
        """Every registered agent by id, sorted; the sample one where there is no other.

        One whose file is broken stays as it was when it could last be read, or else is left out.
        """
        with self._lock:
            return {**self._found(), **self._guests} if self._guests else self._found()

    def register(self, agent: Agent) -> bool:
        """Have an agent without files until the program ends; False where its id is taken."""
        with self._lock:
            is_free = agent.id not in {**self._found(), **self._guests}
            if is_free:
                self._guests[agent.id] = agent
            return is_free

    def _found(self) -> dict[str, Agent]:
        """Called with the lock held."""
        assert self._lock.locked()
        found = self._agents.look()
        if found is not self._looked:
            self._looked, self._registered = found, self._register(found)
        if self._registered:
            self._told_of_sample = False
            return dict(self._registered)
        if not self._told_of_sample and os.path.lexists(self._folder):
            self._told_of_sample = True
            self._notices.append(
                f"{self._shown(self._folder)} has no agent that can be read: the sample one answers. "
                f"{SAMPLE}/AGENT.md in it makes one."
            )
        own = self._folder / SAMPLE  # where there are no agents at all, `make` puts the sample there
        folder = own if os.path.lexists(self._folder) else _sample_folder() or own
        if self._sample is None or self._sample.folder != folder:
            self._sample = _sample_agent(folder)
        return {SAMPLE: self._sample}

    def files(self, agent: Agent) -> Files:
        """What the agent's folder holds, and the skills that all share; the very same object while nothing has
        changed."""
        with self._lock:
            key = agent.folder, agent is self._sample
            place = self._places.get(key) or self._places.setdefault(key, self._place(*key))
            texts, memories = place.texts.look(), place.memories.look()
            skills = [place.skills.look(), *[watch.look() for watch in self._shared_skills]]
            if place.seen != (seen := (texts, memories, *skills)):
                broken = [problem for each in skills for problem in each.problems]
                for problem in (*texts.problems, *memories.problems, *broken):
                    self._tell(problem)
                named: dict[str, Skill] = {}
                for each in skills:
                    for skill in each.values.values():
                        named.setdefault(skill.name, skill)
                guidelines = texts.values.get(str(agent.folder / GUIDELINES), place.guidelines)
                remembered = tuple(memories.values.values())
                place.files = Files(guidelines, tuple(named.values()), remembered, self._bootstrap(agent.folder, texts))
                place.seen = seen
            return place.files

    def notices(self) -> list[str]:
        """What was found to be broken since the last call, each file once for each version of it."""
        with self._lock:
            notices, self._notices = self._notices, []
            return notices

    def memory(self, agent: Agent) -> Path:
        """Where an agent's memories are kept: in the workspace, also while the sample agent comes from the package."""
        folder = agent.folder if agent.folder.is_relative_to(self._folder) else self._folder / SAMPLE
        return folder / "memory"

    def make(self) -> str:
        """Make the folder, and the sample agent in it, where there are no agents at all; to be called before the first
        write. Returns a line that says so, "" where nothing was to be made. Raises OSError."""
        with self._lock:
            if os.path.lexists(self._folder):
                return ""
            self.root.mkdir(exist_ok=True)
            try:
                _install(self._folder)
            except OSError:
                if os.path.lexists(self._folder):  # somebody else was quicker
                    return ""
                raise
            own = self._folder / SAMPLE / "AGENT.md"
            return f"Made the workspace {self.root}: edit {self._shown(own)} to make the agent your own."

    def _register(self, found: Found[Agent]) -> dict[str, Agent]:
        """The agents by id: of two folders with one id the first by name."""
        stands = dict(found.values)
        for problem in found.problems:
            if problem.path in self._good:
                stands[problem.path] = self._good[problem.path]
                self._tell(problem, "it stays as it was when it could last be read")
            else:
                self._tell(problem)
        self._good = stands
        agents: dict[str, Agent] = {}
        for path, agent in sorted(stands.items(), key=lambda each: each[1].folder.name):
            first = agents.setdefault(agent.id, agent)
            if first is not agent:
                why = f"{self._shown(first.folder)} has the id {agent.id} too: rename one of them"
                self._tell(Problem(path, why))
        return dict(sorted(agents.items()))

    def _place(self, folder: Path, is_sample: bool) -> _Place:
        texts = [str(folder / name) for name in (GUIDELINES, *BOOTSTRAP)]
        here = str(self.cwd / "AGENTS.md")
        return _Place(
            Watch(partial(those, dict.fromkeys([*texts, here])), self._limited),
            Watch(partial(markdown, str(folder / "memory")), agentfiles.memory),
            _skills(folder / "skills"),
            _packed_guidelines() if is_sample and not _sample_folder() else "",
        )

    def _bootstrap(self, folder: Path, texts: Found[str]) -> tuple[tuple[str, str], ...]:
        own, here = folder / "AGENTS.md", self.cwd / "AGENTS.md"
        paths = [folder / name for name in BOOTSTRAP]
        if not _are_same(own, here):
            paths.append(here)
        return tuple((self._shown(path), text) for path in paths if (text := texts.values.get(str(path))))

    def _limited(self, path: str, text: str) -> str:
        """As much of a text as the prompt may hold."""
        text = text.strip()
        if len(text) <= LONGEST:
            return text

        def note(left: int) -> str:
            return f"\n[{left:,} characters more: read {self._shown(Path(path))}]"

        room = LONGEST - len(note(len(text)))
        line_end = text.rfind("\n", room // 2, room + 1)
        kept = text[: room if line_end < 0 else line_end].rstrip()
        return kept + note(len(text) - len(kept))

    def _tell(self, problem: Problem, instead: str = "it is skipped") -> None:
        if self._told.get(problem.path) != problem:
            self._told[problem.path] = problem
            self._notices.append(f"{self._shown(Path(problem.path))}: {problem.why}; {instead}")

    def _shown(self, path: Path) -> str:
        return shown(path, self.cwd)


def _skills(folder: Path) -> Watch[Skill]:
    return Watch(partial(below, str(folder), "SKILL.md"), agentfiles.skill)


def _are_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _sample_folder() -> Path | None:
    """The sample agent's, None inside a zip."""
    package = Path(__file__).parent
    for root in (package / "sample", package.parent / "workspace"):
        if (root / ".agents" / SAMPLE / "AGENT.md").is_file():
            return root / ".agents" / SAMPLE
    return None


def _sample_agent(folder: Path) -> Agent:
    try:
        return agentfiles.agent(str(folder / "AGENT.md"), sample(f".agents/{SAMPLE}/AGENT.md").decode())
    except (OSError, ValueError):  # in a checkout it is a file that people edit
        return Agent(SAMPLE, folder, "", SAMPLE)


def _packed_guidelines() -> str:
    return sample(f".agents/{SAMPLE}/{GUIDELINES}").decode().strip()


def _install(agents: Path) -> None:
    """Put the sample agent into a folder that is not there; all of it or nothing. Raises OSError."""
    from importlib.resources import files  # it takes as long to load as all the rest, and is needed once in a lifetime

    packed = files(__package__) / "sample" / ".agents" / SAMPLE
    source = packed if packed.is_dir() else Path(__file__).parent.parent / "workspace" / ".agents" / SAMPLE
    unfinished = agents.with_name(f".{os.urandom(8).hex()}.tmp")
    try:
        unfinished.mkdir()
        _copy(source, unfinished / SAMPLE)
        unfinished.rename(agents)
    except BaseException:
        rmtree(unfinished, ignore_errors=True)
        raise


def _copy(source: Traversable, target: Path) -> None:
    target.mkdir()
    for each in source.iterdir():
        if each.is_dir():
            _copy(each, target / each.name)
        elif each.name.endswith(".md"):
            atomic.replace(target / each.name, each.read_bytes())
