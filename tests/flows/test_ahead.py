"""What a worker imports before it forks is all that its processes need."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.flows.departing import everywhere
from tests.flows.rig import Rig

# Opens a site, looks at everybody's first account, and says what had to be imported for it after all.
LOOK = """
import sys
from pathlib import Path
from worker import wiring
wiring.import_ahead(Path(sys.argv[1]))
ahead = set(sys.modules)
with wiring.open_site(Path(sys.argv[1]), "schedule", print) as site:
    for target in site.targets.values():
        target.belongings(target.accounts_of({"login": sys.argv[2], "email": sys.argv[2]})[0].id)
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - ahead}))
"""


def test_the_first_leaver_of_a_process_waits_for_no_import(rig: Rig) -> None:
    command = [sys.executable, "-c", LOOK, str(rig.write_settings()), everywhere(rig)]
    said = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120, check=False)
    assert said.returncode == 0, said.stderr
    late = set(said.stdout.split())
    assert not late & {"worker", "looker_sdk", "httpx", "pydantic", "sqlalchemy"}, late
