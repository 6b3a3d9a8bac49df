"""What agents do by themselves, and when: the commands /heartbeat, /trigger and /cron, and the tool cron."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .command import Command, Order
from .errors import CommandError, ToolError
from .printable import span
from .toolbox import Scope, Tool, tool

if TYPE_CHECKING:
    from .beside import Beside
    from .cron import Cron, Row
    from .jobs import Job

SHOWN = 50  # rows
BEGINNING = 60  # characters of a job's text

USAGE = "It is /cron, /cron add WHEN TEXT, /cron rm ID, on ID, off ID, run ID, reload, stop or start."


def commands(beside: Callable[[], Beside]) -> list[Command]:
    """/heartbeat, /trigger and /cron."""

    def here() -> Beside:
        """Raises CommandError where another process does it."""
        found = beside()
        if who := found.background.elsewhere():
            raise CommandError(f"Process {who} does that: say it there, or end that one first.")
        return found

    def heartbeat(order: Order) -> str:
        if order.rest in ("stop", "start"):
            beats = here().heartbeats
            (beats.pause if order.rest == "stop" else beats.resume)()
        elif order.rest:
            raise CommandError("It is /heartbeat, /heartbeat stop or /heartbeat start.")
        return "\n".join(_heartbeats(beside()))

    def trigger(order: Order) -> str:
        found, session = beside(), order.session
        plan = found.heartbeats.plan(found.contact(order.inbound, session))
        if plan.pulse.deliver:
            here()  # else it would wait until that process has ended
        status, text = found.heartbeats.trigger(session, plan, order.run)
        told = f"({status})" if plan.pulse.deliver or not text else ""
        return "\n".join(filter(None, (text, told)))

    def cron(order: Order) -> str:
        verb, _, rest = order.rest.partition(" ")
        rest, jobs = rest.strip(), beside().cron
        if verb in ("run", "stop", "start", "reload"):
            here()
        if verb == "" or (verb == "reload" and not rest):
            return "\n".join(_jobs(beside()))
        if verb in ("stop", "start") and not rest:
            (jobs.pause if verb == "stop" else jobs.resume)()
            return "\n".join(_jobs(beside()))
        if not rest or verb not in ("add", "rm", "on", "off", "run"):
            raise CommandError(USAGE)
        if verb == "add":
            return f"Added: {_job(add(jobs, rest, order.session.view.agent, (order.inbound.source, order.inbound.to)))}"
        if verb == "rm":
            _remove(jobs, rest)
            return f"{rest} is gone."
        if verb == "run":
            return f"{jobs.trigger(rest).id} runs now: /cron shows what comes of it."
        jobs.switch(rest, verb == "on")
        return f"{rest} is {verb}."

    own = partial(Command, now=True, owner=True)
    return [
        own("heartbeat", "[stop | start]", "what agents look after by themselves, and when", heartbeat),
        Command("trigger", "", "a heartbeat now, in this session", trigger, owner=True),
        own(
            "cron",
            "[add WHEN TEXT | rm ID | run ID ...]",
            "what is done on a schedule",
            cron,
        ),
    ]


def cron_tool(cron: Callable[[], Cron]) -> Tool:
    """The tool by which an agent schedules what it is to do."""

    def run(action: Literal["list", "add", "remove"], job: str = "", *, scope: Scope) -> str:
        """What you do by schedule. job: to add, `every 30m TEXT`, `at 2026-12-01 09:00 TEXT` or `0 9 * * 1-5 TEXT`;
        to remove, its id."""
        try:
            if action == "list":
                return "\n".join(_job(row.job) for row in cron().rows()) or "There are no jobs."
            if action == "add":
                return f"added: {_job(add(cron(), job, scope.agent, scope.asker))}"
            _remove(cron(), job)
        except CommandError as error:
            raise ToolError(str(error)) from None
        return f"{job} is removed"

    return tool(name="cron", asks=True)(run)


def add(cron: Cron, line: str, agent: str, asker: tuple[str, str]) -> Job:
    """Add a job as a line describes it, whose words are for whoever has asked for it: a channel and an address. Raises
    CommandError."""
    from .cronline import EXAMPLES, spoken
    from .schedule import ScheduleError

    try:
        schedule, text = spoken(line, datetime.now().astimezone())
    except ScheduleError as error:
        raise CommandError(f"That is no schedule: {error}. For example: {EXAMPLES}") from None
    if not text.strip():
        raise CommandError(f"What is to be done then? For example: {EXAMPLES}")
    words: dict[str, Any] = {"name": " ".join(text.split()[:5])[:40], "schedule": schedule}
    words |= {"payload": {"kind": "agent_turn", "message": text}, "agent_id": agent}
    if all(asker):
        words |= {"channel": asker[0], "to": asker[1]}
    if schedule["kind"] == "at":
        words["delete_after_run"] = True
    made = cron.jobs.add(words)
    cron.refresh()
    return made


def _remove(cron: Cron, id: str) -> None:
    if not cron.jobs.remove(id):
        raise CommandError(f"There is no job {id}: /cron lists them.")
    cron.refresh()


# -- for people


def _heartbeats(beside: Beside) -> list[str]:
    beats, unattended = beside.heartbeats, beside.unattended
    who = beside.background.elsewhere()
    how = f"done by process {who}" if who else beats.stopped or ("running" if beside.background.runs else "not running")
    lines = [f"heartbeats  {how}; tokens today: {unattended.spent:,}{_limit(unattended.most)}"]
    for plan, beat in beats.plans()[:SHOWN]:
        every, last = f"every {span(plan.pulse.interval)}", "none yet"
        if beat and beat.status:
            last = f"{moment(beat.at)} ({beat.status})"
        why = f" ({plan.why})" if plan.why else ""
        lines.append(f"  {plan.contact.session}  {every}; last: {last}; next: {moment(plan.due)}{why}")
    lines += [f"  {agent}  no heartbeat: {why}" for agent, why in beats.idle()]
    if len(lines) == 1 and not beats.stopped:
        lines.append("  no agent has a HEARTBEAT.md")
    return lines


def _limit(most: int) -> str:
    return f" of {most:,}" if most else ""


def _jobs(beside: Beside) -> list[str]:
    cron = beside.cron
    who = beside.background.elsewhere()
    how = f"done by process {who}" if who else "stopped" if cron.stopped else ""
    how = how or ("running" if beside.background.runs else "not running")
    rows = cron.rows()
    lines = [f"cron  {how}; jobs: {len(rows)}; tokens today: {beside.unattended.spent:,}"]
    for row in rows[:SHOWN]:
        lines += _row(row)
    if len(rows) > SHOWN:
        lines.append(f"  and {len(rows) - SHOWN:,} more: CRON.json has all of them")
    return [*lines, *cron.jobs.look().problems]


def _row(row: Row) -> list[str]:
    job, standing = row.job, row.standing
    where = f", to {job.channel}:{job.to}" if job.channel and job.to else ""
    lines = [f"  {_job(job)}{where}"]
    last = (
        f"{moment(standing.last_at)} ({standing.last_status})" if standing.last_at else standing.last_status or "none"
    )
    following = moment(row.due) if row.due is not None else "never again"
    if not job.enabled or standing.off:
        following = f"off after {standing.off}" if standing.off else "off"
    elif standing.started is not None:
        following = "running"
    late = ", overdue" if row.due is not None and row.due < datetime.now().timestamp() - 60 else ""
    failures = f"; failures in a row: {standing.failures}" if standing.failures else ""
    lines.append(f"      last: {last}; next: {following}{late}{failures}")
    return lines


def _job(job: Job) -> str:
    text = " ".join(job.text.split())
    return f"{job.id}  {job.schedule.words}  {text[:BEGINNING]}{'...' * (len(text) > BEGINNING)}"


def moment(at: float | None) -> str:
    """A time as people read it, with its zone."""
    if at is None:
        return "never"
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    except (ValueError, OverflowError, OSError):
        return "at no time that can be told"
