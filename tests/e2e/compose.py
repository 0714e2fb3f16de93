"""compose.yaml without an engine: each service's own command, environment, user and secrets, as processes.

What an engine mounts into a container is copied into a folder of the service's own; paths and ports that only a
container has are replaced by ours. PostgreSQL and Redis are real ones from wheels, made ready by the very files that
compose mounts into theirs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from worker.embedded.place import Account

ROOT = Path(__file__).parents[2]
COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Mapping[str, Any] = COMPOSE["services"]
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
PROGRAMS = Path(sys.executable).parent
GIVEN = re.compile(r"\$\{(\w+):-([^}]*)\}")  # a variable that has a default in compose.yaml
TRUEUP = [name for name, service in SERVICES.items() if "build" in service]
SERVERS = [name for name in SERVICES if name not in TRUEUP]
VENDORS = ("okta_token", "looker_client_id", "looker_client_secret", "teamcity_token")


def entrypoint() -> list[str]:
    """What the image puts before a command."""
    (found,) = re.findall(r"^ENTRYPOINT (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    return list(json.loads(found))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class Deployment:
    """`folder` has to be within reach of everybody; `postgres` is where its programs are."""

    folder: Path
    postgres: Path
    settings: str
    vendors: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {"5432": free_port(), "6379": free_port(), "8000": free_port()}
        self.secrets = self.folder / "made"

    def make_secrets(self) -> str:
        """As `make secrets` does, with the vendors' beside them; the addresses then lead to this machine."""
        made = subprocess.run(
            [ROOT / ".ci" / "make-secrets", self.secrets], capture_output=True, text=True, check=True
        )  # fmt: skip
        for name, value in self.vendors.items():
            (self.secrets / name).write_text(value, encoding="utf-8")
        return made.stdout

    def secret(self, name: str) -> str:
        text = (self.secrets / name).read_text(encoding="utf-8")
        for host, port in (("postgres", "5432"), ("redis", "6379")):
            text = text.replace(f"@{host}:{port}/", f"@127.0.0.1:{self.ports[port]}/")
        return text

    # --- what an engine does ------------------------------------------------------------------------------------------

    def place(self, name: str) -> Path:
        """The service's own root, with the secrets that it is given and no others."""
        root, account = self.folder / name, self.account(name)
        if not root.exists():
            for part in (root, root / "secrets", root / "settings"):
                part.mkdir(mode=0o755)
            for part in (root / "tmp", root / "data"):
                account.own(part)
            for secret in SERVICES[name].get("secrets", []):
                (root / "secrets" / secret).write_text(self.secret(secret), encoding="utf-8")
            (root / "settings" / "trueup.yaml").write_text(self.here(name, self.settings), encoding="utf-8")
        return root

    def account(self, name: str) -> Account:
        """Who the service runs as: the uid of compose.yaml if we may choose and it can run our Python, or we."""
        ourselves = Account(os.geteuid(), os.getegid())
        if name in SERVERS:
            nobody = Account(65_534, 65_534)
            able = name != "redis" or nobody.runs(Path(PROGRAMS) / "redis-server")  # not from a private checkout
            return nobody if os.geteuid() == 0 and able else ourselves
        uid = int(SERVICES[name]["user"].partition(":")[0])
        wanted = Account(uid, uid)
        return wanted if os.geteuid() == 0 and wanted.runs(Path(sys.executable)) else ourselves

    def here(self, name: str, text: str) -> str:
        """What a service is told, with its paths and ports as they are on this machine."""
        root = self.folder / name
        ours = {
            "/run/secrets": root / "secrets", "/etc/trueup": root / "settings", "/tmp": root / "tmp",
            "/data": root / "data", "0.0.0.0": "127.0.0.1", "8000": self.ports["8000"],
            "redis-cli": f"redis-cli -p {self.ports['6379']}",
        }  # fmt: skip
        text = GIVEN.sub(r"\2", text)
        return re.sub(rf"({'|'.join(map(re.escape, ours))})(?!\w)", lambda found: str(ours[found[0]]), text)

    def environment(self, name: str) -> dict[str, str]:
        """Nothing of ours but where programs are; then what compose.yaml says."""
        root = self.folder / name
        basic = {
            "PATH": f"{PROGRAMS}:{self.postgres}:{os.defpath}", "HOME": str(root / "tmp"), "TMPDIR": str(root / "tmp"),
            "LOGNAME": "trueup", "PGPORT": str(self.ports["5432"]), "LC_ALL": "C",
        }  # fmt: skip
        said = {key: self.here(name, value) for key, value in SERVICES[name].get("environment", {}).items()}
        return {**basic, **said}

    def _start(self, name: str, command: Sequence[str], more: Mapping[str, str] = {}) -> subprocess.Popen[bytes]:
        self.place(name)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, env={**self.environment(name), **more}, cwd="/", stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, **self.account(name).identity,
            )  # fmt: skip

    # --- what one asks of it ------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """A service of ours, by its entrypoint and its command as they are written."""
        command = [self.here(name, word) for word in SERVICES[name]["command"]]
        self.processes[name] = self._start(name, [*entrypoint(), *command])

    def run(self, name: str, *words: str) -> int:
        """`docker compose run --rm NAME WORDS`, or its own command; the exit code."""
        return self._start(name, [*entrypoint(), *(words or SERVICES[name]["command"])]).wait(timeout=120)

    def healthy(self, name: str) -> bool:
        """What its health check says, run as it is written."""
        kind, *words = SERVICES[name]["healthcheck"]["test"]
        words = [self.here(name, word) for word in words]
        return self._start(name, ["sh", "-c", *words] if kind == "CMD-SHELL" else words).wait(timeout=30) == 0

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        process.send_signal(how)
        return process.wait(timeout=60)

    def kill(self, name: str) -> None:
        """It and its children, which share its session."""
        process = self.processes.pop(name)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill_all(self) -> None:
        for name in list(self.processes):
            self.kill(name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    @cached_property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['8000']}"

    # --- the two servers ----------------------------------------------------------------------------------------------

    def start_redis(self) -> None:
        command = [self.here("redis", word) for word in SERVICES["redis"]["command"]]
        ours = ["--bind", "127.0.0.1", "--port", str(self.ports["6379"])]
        self.processes["redis"] = self._start("redis", [*command, *ours])

    def create_postgres(self) -> None:
        """A cluster as the image's entrypoint makes one: by the same initdb, with a password for its superuser."""
        root = self.place("postgres")
        said = self.environment("postgres")
        initdb = ["initdb", "--pgdata", str(root / "data"), "--username", said["POSTGRES_USER"],
                  "--pwfile", said["POSTGRES_PASSWORD_FILE"], *said["POSTGRES_INITDB_ARGS"].split()]  # fmt: skip
        assert self._start("postgres", initdb).wait(timeout=60) == 0, self.log("postgres")

    def start_postgres(self) -> None:
        root = self.place("postgres")
        ours = ["-D", str(root / "data"), "-k", str(root / "tmp"), "-p", str(self.ports["5432"]),
                "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]  # fmt: skip
        self.processes["postgres"] = self._start("postgres", [*SERVICES["postgres"]["command"], *ours])

    def run_postgres_init(self) -> int:
        """The script that compose mounts for the image to run once, over the socket, as its superuser."""
        root = self.place("postgres")
        script = root / "tmp" / "init.sh"
        shutil.copy(ROOT / "migrations" / "postgres-init.sh", script)
        script.chmod(0o755)
        more = {
            "PGHOST": str(root / "tmp"), "PGPASSWORD": (root / "secrets" / "postgres_password").read_text(),
            "TRUEUP_INIT_SECRETS": str(root / "secrets"),
        }  # fmt: skip
        return self._start("postgres", [str(script)], more).wait(timeout=30)
