"""What agents do by themselves, and when: the commands /heartbeat, /trigger and /cron, and the tool cron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .background import HEADLESS
from .command import Command, Order
from .errors import CommandError, ToolError
from .printable import span
from .toolbox import Scope, Tool, tool

if TYPE_CHECKING:
    from .beside import Beside
    from .cron import Cron, Row
    from .job import Job

SHOWN = 50  # rows
BEGINNING = 60  # characters of a job's text
REASON = 120  # characters of why one was no success

NOBODY = "  no process is doing this now: open a chat, or agentkit serve"

USAGE = "It is /cron, /cron add WHEN TEXT, /cron rm ID, on ID, off ID, run ID, reload, stop or start."


def commands(beside: Callable[[], Beside]) -> list[Command]:
    """/heartbeat, /trigger and /cron."""

    def here() -> Beside:
        """Raises CommandError where another process does it."""
        found = beside()
        if who := found.background.elsewhere():
            raise CommandError(f"Process {who} does that: {found.background.cure()}.")
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
        is_beside = beside().background.elsewhere_as(HEADLESS)
        if verb in ("stop", "start") or (verb in ("run", "reload") and not is_beside):
            here()
        if verb == "" or (verb == "reload" and not rest):
            return "\n".join(_jobs(beside()))
        if verb in ("stop", "start") and not rest:
            (jobs.pause if verb == "stop" else jobs.resume)()
            return "\n".join(_jobs(beside()))
        if not rest or verb not in ("add", "rm", "on", "off", "run"):
            raise CommandError(USAGE)
        if verb == "add":
            asker = order.inbound.source, order.inbound.to
            return f"Added: {_first(jobs, add(jobs, rest, order.session.view.agent, asker))}"
        if verb == "rm":
            _remove(jobs, rest)
            return f"{rest} is gone."
        if verb == "run" and is_beside:
            jobs.ask(rest)
            who = beside().background.elsewhere()
            return f"{rest} is begun by process {who} within a minute: /cron shows what comes of it."
        if verb == "run":
            return f"{jobs.trigger(rest).id} runs now: /cron shows what comes of it."
        jobs.switch(rest, verb == "on")
        return f"{rest} is {verb}."

    own = partial(Command, now=True, owner=True)
    return [
        own(
            "heartbeat",
            "[stop | start]",
            "what agents look after by themselves, and when",
            heartbeat,
            choices=lambda session: ("stop", "start"),
        ),
        Command("trigger", "", "a heartbeat now, in this session", trigger, owner=True),
        own(
            "cron",
            "[add WHEN TEXT | rm ID | run ID ...]",
            "what is done on a schedule; also on ID, off ID, reload, stop, start",
            cron,
            choices=lambda session: ("add ", "rm ", "on ", "off ", "run ", "reload", "stop", "start"),
        ),
    ]


def cron_tool(cron: Callable[[], Cron]) -> Tool:
    """The tool by which an agent schedules what it is to do."""

    def run(action: Literal["list", "add", "remove"], job: str = "", *, scope: Scope) -> str:
        """What you do by schedule. job: to add, `every 30m TEXT`, `at 2026-12-01 09:00 TEXT` or `0 9 * * 1-5 TEXT`;
        to remove, its id."""
        try:
            if action == "list":
                return "\n".join(_rows(cron(), cron().rows())) or "There are no jobs."
            if action == "add":
                return f"added: {_first(cron(), add(cron(), job, scope.agent, scope.asker))}"
            _remove(cron(), job)
        except CommandError as error:
            raise ToolError(str(error)) from None
        return f"{job} is removed"

    return tool(name="cron", asks=True, spares=lambda arguments: arguments["action"] == "list")(run)


def add(cron: Cron, line: str, agent: str, asker: tuple[str, str]) -> Job:
    """Add a job as a line describes it, whose words are for whoever has asked for it: a channel and an address. Raises
    CommandError."""
    from .cronline import EXAMPLES, spoken
    from .schedule import ScheduleError

    now = datetime.now().astimezone()
    try:
        schedule, text = spoken(line, now)
    except ScheduleError as error:
        example = f" For example: {EXAMPLES}" if error.field == "schedule" else ""
        raise CommandError(f"That is no schedule: {error.reason}.{example}") from None
    if not text.strip():
        raise CommandError(f"What is to be done then? For example: {EXAMPLES}")
    words: dict[str, Any] = {"name": " ".join(text.split()[:5])[:40], "schedule": schedule}
    words |= {"payload": {"kind": "agent_turn", "message": text}, "agent_id": agent}
    if all(asker):
        words |= {"channel": asker[0], "to": asker[1]}
    if schedule["kind"] == "at":
        words["delete_after_run"] = True
    elif schedule["kind"] == "every":
        # It counts from now; the file's own time may be a little behind.
        schedule["anchor"] = (now - timedelta(seconds=0.05)).isoformat(timespec="seconds")
    made = cron.jobs.add(words)
    cron.refresh()
    return made


def _first(cron: Cron, job: Job) -> str:
    """A new job, and when it runs first."""
    due = next((row.due for row in cron.rows() if row.job.id == job.id), None)
    return f"{_job(job)}\n      next: {moment(due)}"


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
    lines += [NOBODY] if how == "not running" else []
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
    lines += [NOBODY] if how == "not running" else []
    lines += [f"  {line}" for line in _rows(cron, rows[:SHOWN])]
    if len(rows) > SHOWN:
        lines.append(f"  and {len(rows) - SHOWN:,} more: CRON.json has all of them")
    return [*lines, *beside.problems()]


def _rows(cron: Cron, rows: Sequence[Row]) -> list[str]:
    """Two lines for each job."""
    ends = {row.job.id: row.standing.last_status for row in rows}
    reasons = cron.runs.reasons({id: how for id, how in ends.items() if how not in ("", "ok", "silent")})
    return [line for row in rows for line in _row(row, reasons.get(row.job.id, ""))]


def _row(row: Row, why: str) -> list[str]:
    """why: the reason, where the last run was no success."""
    job, standing = row.job, row.standing
    where = f", to {job.channel}:{job.to}" if job.channel and job.to else ""
    lines = [f"{_job(job)}{where}"]
    how = ": ".join(filter(None, (standing.last_status, "" if standing.off else _shortly(why))))
    last = f"{moment(standing.last_at)} ({how})" if standing.last_at and how else how or "none"
    never = "never again" if standing.last_status else "never: its time is past"
    following = moment(row.due) if row.due is not None else never
    if not job.enabled or standing.off:
        following = f"off after {standing.off}" if standing.off else "off"
    elif standing.started is not None:
        following = "running"
    late = ", overdue" if row.due is not None and row.due < datetime.now().timestamp() - 60 else ""
    failures = f"; failures in a row: {standing.failures}" if standing.failures else ""
    lines.append(f"    last: {last}; next: {following}{late}{failures}")
    return lines


def _job(job: Job) -> str:
    return f"{job.id}  {job.schedule.words}  {_shortly(job.text, BEGINNING)}"


def _shortly(text: str, most: int = REASON) -> str:
    """Its beginning, on one line."""
    text = " ".join(text.split())
    return f"{text[:most]}{'...' * (len(text) > most)}"


def moment(at: float | None) -> str:
    """A time as people read it, with its zone."""
    if at is None:
        return "never"
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    except (ValueError, OverflowError, OSError):
        return "at no time that can be told"
