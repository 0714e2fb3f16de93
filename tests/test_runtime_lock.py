"""requirements.txt is enough: nothing of the product needs a package that only tests bring along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Run apart, since here everything is imported already. Whatever only belongs to packages that the lock lacks is shut.
_ALONE = """
import importlib, pkgutil, re, sys
from importlib.metadata import packages_distributions
from pathlib import Path

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

locked = {plain(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", Path("requirements.txt").read_text(), re.M)}
shut = {
    module
    for module, owners in packages_distributions().items()
    if not {plain(owner) for owner in owners} & {*locked, "trueup"}
}
assert {"pytest", "mypy"} <= shut, shut
for module in shut:
    sys.modules[module] = None

import migrations, tasks, worker
from worker import broker

for package in (worker, tasks):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
for name in ("celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "okta.client", "looker_sdk"):
    importlib.import_module(name)
broker.celery("redis://127.0.0.1:1/0").connection_for_write().transport
print("imported")
"""


def test_every_module_is_imported_without_the_tools_of_tests() -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TRUEUP_REDIS_URL": "redis://127.0.0.1:1/0"}

    found = subprocess.run(
        [sys.executable, "-c", _ALONE], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert found.stdout == "imported\n", found.stderr
