"""What the beat sends: one tick, every few seconds, one more to the leavers' workers, and nothing else.

A tick asks the database which slots are due (`worker.settings.schedule.jobs` is the whole schedule on one screen),
makes each of them once however many beats tick, and sends workers to what they left behind. So a beat has nothing to
remember: run two of them, or lose one.
"""

from __future__ import annotations

import os
from typing import Any

TICK = float(os.environ.get("TRUEUP_TICK_SECONDS", "5"))

BEAT: dict[str, Any] = {
    "beat_scheduler": "tasks.alive:Metronome",  # in memory
    "beat_max_loop_interval": TICK,
    "beat_schedule": {
        name: {"task": f"trueup.{name}", "schedule": TICK, "options": {"expires": 2 * TICK}}
        for name in ("tick", "look for leavers")
    },
}
