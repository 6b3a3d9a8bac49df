"""What systemd hears of a service: that it is ready, reloads, or ends (sd_notify(3), without its library)."""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger("agentkit")

PATIENCE = 1.0  # seconds that it has to take a message

READY, STOPPING = "READY=1", "STOPPING=1"


def address() -> str:
    """Where to tell, empty: nobody wants to know. It is taken out of the environment: no child is to speak for us."""
    return os.environ.pop("NOTIFY_SOCKET", "")


def tell(where: str, *states: str) -> None:
    """Send states, such as READY or "STATUS=..."; where: a path, or with an @ an abstract name (Linux)."""
    if not where:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
            made.settimeout(PATIENCE)
            made.sendto("\n".join(states).encode(), f"\0{where[1:]}" if where.startswith("@") else where)
    except OSError as error:
        log.warning("the service manager at NOTIFY_SOCKET cannot be told: %s", error.strerror or error)


def reloading() -> tuple[str, str]:
    """That we are, from now until READY (Type=notify-reload wants to know since when)."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
