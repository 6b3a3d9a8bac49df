"""Skills as commands: `/<skill> [args]` and `/skill <name> [args]` put a skill's text before the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .command import Command, Order, Say
from .errors import CommandError
from .events import Inbound
from .workspace import Skill, body

Skills = Callable[[Inbound], Mapping[str, Skill]]  # those of the sender's agent, by name in small letters


def commands(skills_of: Skills) -> list[Command]:
    def use(order: Order) -> str | Say:
        name, *rest = order.rest.split(maxsplit=1) or [""]
        skills = skills_of(order.inbound)
        if not name:
            return _listed(skills)
        if name.casefold() not in skills:
            raise CommandError(f"There is no skill {name}: /skill lists what there is.")
        return _used(skills[name.casefold()], rest[0] if rest else "")

    return [Command("skill", "[name] [args]", "use a skill, as /<name> does; alone: the skills", use, group="agent")]


def by_name(skills_of: Skills) -> Callable[[str, Inbound], Command | None]:
    """Finds the command that a skill is."""

    def find(name: str, inbound: Inbound) -> Command | None:
        skill = skills_of(inbound).get(name)
        if skill is None:
            return None
        return Command(name, "[args]", skill.description, lambda order: _used(skill, order.rest), group="agent")

    return find


def _used(skill: Skill, arguments: str) -> Say:
    text = f"Use the skill {skill.name} ({skill.path}):\n\n{body(skill).strip()}"
    return Say(f"{text}\n\nWhat it is used for now: {arguments}" if arguments else text)


def _listed(skills: Mapping[str, Skill]) -> str:
    if not skills:
        return "There are no skills: a folder skills/<name>/ with a SKILL.md in the agent's folder is one."
    return "\n".join(f"/{name}  {skill.description}" for name, skill in sorted(skills.items()))
