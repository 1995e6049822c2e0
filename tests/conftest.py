"""What every test may count on: it waits for events, however slow the machine, and is the same each time."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("long", settings.get_profile("steady"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also under nohup: apps inherit it, and are to be stopped by it
