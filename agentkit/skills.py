"""Skills as commands: `/<skill> [args]` and `/skill <name> [args]` put a skill's text before the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from .command import Command, Order, Say, nearest
from .completion import Choice
from .errors import CommandError
from .session import Session
from .workspace import Skill, body

Skills = Callable[[Session], Mapping[str, Skill]]  # those of the session's agent, by name


def commands(skills_of: Skills, builtin: Callable[[], Mapping[str, Command]]) -> list[Command]:
    """builtin: the commands, whose names win over a skill's."""

    def use(order: Order) -> str | Say:
        name, *rest = order.rest.split(maxsplit=1) or [""]
        skills = skills_of(order.session)
        if not name:
            return _listed(skills, builtin())
        if name.casefold() not in skills:
            cure = nearest(name.casefold(), skills) or "/skill lists what there is."
            raise CommandError(f"There is no skill {name}. {cure}".strip())
        return _used(skills[name.casefold()], rest[0] if rest else "")

    def names(session: Session) -> Iterator[Choice]:
        for name, skill in sorted(skills_of(session).items()):
            yield Choice(f"{name} ", skill.description)

    told = "use a skill, as /<name> does; alone: the skills"
    return [Command("skill", "[name] [args]", told, use, group="agent", choices=names)]


def by_name(skills_of: Skills) -> Callable[[Session], Mapping[str, Command]]:
    """The commands that skills are."""

    def use(skill: Skill, order: Order) -> Say:
        return _used(skill, order.rest)

    def found(session: Session) -> Mapping[str, Command]:
        return {
            name: Command(name, "[args]", skill.description, partial(use, skill), group="agent")
            for name, skill in skills_of(session).items()
        }

    return found


def _used(skill: Skill, arguments: str) -> Say:
    text = f"Use the skill {skill.name} ({skill.path}):\n\n{body(skill).strip()}"
    typed = f"/{skill.name} {arguments}".rstrip()
    return Say(f"{text}\n\nWhat it is used for now: {arguments}" if arguments else text, typed)


def _listed(skills: Mapping[str, Skill], builtin: Mapping[str, Command]) -> str:
    if not skills:
        return "There are no skills: a folder skills/<name>/ with a SKILL.md in the agent's folder is one."
    names = {name: f"/skill {name}" if name in builtin else f"/{name}" for name in skills}
    return "\n".join(f"{names[name]}  {skill.description}" for name, skill in sorted(skills.items()))
