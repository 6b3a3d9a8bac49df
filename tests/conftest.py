"""How the tests are run: the same each time, on a machine of any speed, in the foreground or behind a script."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "agentkit", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
settings.load_profile("agentkit")

# A shell has what it runs in the background ignore Ctrl-C, which all that we start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
