"""What agents do by themselves, as programs see it and set it off: the methods about jobs, heartbeats and letters."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from .beside import Beside
from .cancel import Cancel
from .contacts import Contact
from .errors import CommandError
from .events import Answer, Inbound
from .jobs import JobRuns, NoJob
from .lanes import LaneFull, Lanes
from .node import Run
from .records import replace
from .rpc import INTERNAL_ERROR, TOO_BUSY, UNKNOWN, RpcError
from .session import Session

MOST = 1000  # rows in one answer


class Housekeeping:
    """May be used from any thread. session_of: the session of somebody, raises CommandError where its agent is gone;
    leave: hears that it is used no more."""

    def __init__(
        self,
        beside: Callable[[], Beside],
        lanes: Callable[[], Lanes],
        session_of: Callable[[Contact], Session],
        leave: Callable[[Session], None],
    ) -> None:
        self._beside, self._lanes, self._session_of, self._leave = beside, lanes, session_of, leave

    def table(self) -> dict[str, Callable[..., Any]]:
        """The methods by name."""
        return {
            "cron.list": self.jobs,
            "cron.trigger": self.run_job,
            "heartbeat.status": self.heartbeats,
            "heartbeat.trigger": self.beat,
            "delivery.stats": self.deliveries,
        }

    def standing(self) -> dict[str, Any]:
        """What `status` tells of all of it."""
        beside = self._beside()
        clock, stats = beside.clock, beside.outbox.stats()
        return {
            "background": "here" if beside.background.runs else beside.background.elsewhere() or "nowhere",
            "last_tick": iso(clock.last or None),
            "overdue": beside.overdue(),
            "letters_pending": stats.pending,
            "letters_failed": stats.failed,
            "tokens_today": beside.unattended.spent,
        }

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs of CRON.json, and how they stand."""
        rows = self._beside().cron.rows()[:MOST]
        return [
            {
                "id": row.job.id,
                "name": row.job.name,
                "enabled": row.job.enabled,
                "schedule": row.job.schedule.words,
                "kind": row.job.kind,
                "agent_id": row.job.agent_id or None,
                "channel": row.job.channel or None,
                "to": row.job.to or None,
                "running": row.standing.started is not None,
                "next": iso(row.due),
                "last": iso(row.standing.last_at),
                "last_status": row.standing.last_status or None,
                "failures": row.standing.failures,
                "disabled": row.standing.off or None,
            }
            for row in rows
        ]

    def run_job(self, id: str) -> dict[str, Any]:
        """Have a job done now; cron.list tells what comes of it."""
        try:
            return {"id": self._beside().cron.trigger(id).id, "begun": True}
        except NoJob as error:
            raise RpcError(UNKNOWN, str(error)) from None
        except JobRuns as error:
            raise RpcError(TOO_BUSY, str(error)) from None
        except CommandError as error:
            raise RpcError(INTERNAL_ERROR, str(error)) from None

    def heartbeats(self) -> dict[str, Any]:
        """Which sessions have one, what became of the last, and when the next one is."""
        beside = self._beside()
        plans = beside.heartbeats.plans()[:MOST]
        return {
            "state": beside.heartbeats.stopped or ("running" if beside.background.runs else "not running"),
            "tokens_today": beside.unattended.spent,
            "tokens_limit": beside.unattended.most or None,
            "sessions": [
                {
                    "session_key": plan.contact.session,
                    "agent_id": plan.contact.agent,
                    "interval": plan.pulse.interval,
                    "last": iso(beat.at) if beat and beat.status else None,
                    "last_status": beat.status if beat and beat.status else None,
                    "next": iso(plan.due),
                    "not_now": plan.why or None,
                }
                for plan, beat in plans
            ],
            "without": [{"agent_id": agent, "why": why} for agent, why in beside.heartbeats.idle()],
        }

    def beat(self, session_key: str) -> Future[dict[str, Any]]:
        """Have a heartbeat now in a session, whatever hours and limits say; the result is what was said."""
        beside = self._beside()
        contact = next((each for each in beside.contacts.since(0.0) if each.session == session_key), None)
        if contact is None:
            raise RpcError(UNKNOWN, "There is no such session, or nobody has spoken in it.")
        try:
            plan = beside.heartbeats.plan(contact)
        except CommandError as error:
            raise RpcError(UNKNOWN, str(error)) from None
        # Whoever sets it off need not be who is told.
        told = replace(plan.pulse, deliver=plan.pulse.deliver or (contact.channel, contact.to))
        plan = plan._replace(pulse=told)
        future: Future[dict[str, Any]] = Future()

        def work(cancel: Cancel) -> None:
            try:
                session = self._session_of(contact)
                session.begin(Inbound("", contact.channel, contact.peer), lambda event: None)
                run = Run(lambda event: None, lambda ask: Answer("deny", "nobody is there to be asked"), cancel)
                status, text = beside.heartbeats.trigger(session, plan, run)
                self._leave(session)
                future.set_result({"session_key": session_key, "status": status, "text": text})
            except BaseException as error:  # whoever waits must hear of it
                future.set_exception(RpcError(INTERNAL_ERROR, f"There was no heartbeat: {error or 'interrupted'}"))

        try:
            self._lanes().get(session_key).put(work)
        except (LaneFull, RuntimeError) as error:
            raise RpcError(TOO_BUSY, str(error)) from None
        return future

    def deliveries(self) -> dict[str, Any]:
        """The letters on their way."""
        try:
            stats = self._beside().outbox.stats()
        except OSError as error:
            raise RpcError(INTERNAL_ERROR, f"The letters cannot be read: {error.strerror}") from None
        waiting = [{**each._asdict(), "next": iso(each.next)} for each in stats.destinations[:MOST]]
        return {**stats._asdict(), "next": iso(stats.next), "destinations": waiting}


def iso(at: float | None) -> str | None:
    """A time as programs read it, in the zone of this machine."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
