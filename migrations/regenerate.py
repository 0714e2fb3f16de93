"""Writes the tables part of the first revision anew from worker/store/tables/: `python -m migrations.regenerate`.

Only until the first release: from then on a change of the tables is a revision of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext
from sqlalchemy import NullPool
from sqlmodel import SQLModel

from worker import embedded
from worker.store import address, tables  # noqa: F401 (loading it defines the tables)

INITIAL = Path(__file__).parent / "versions" / "0001_initial.py"
_PLAINER = {
    "sqlmodel.sql.sqltypes.AutoString()": "sa.String()",
    "postgresql.JSONB(astext_type=Text())": "postgresql.JSONB()",
}
START, END = "# <tables>\n", "# </tables>\n"


def main() -> None:
    """Compare the tables with an empty database and write down what is missing in it."""
    with tempfile.TemporaryDirectory(prefix="trueup-regenerate-") as state:
        Path(state).chmod(0o711)  # the server runs as an account of its own
        with embedded.running(Path(state)) as server:
            generated = _creations(server.owner_url)
    text = INITIAL.read_text()
    before, after = text[: text.index(START)], text[text.index(END) :]
    INITIAL.write_text(f"{before}{START}def _tables() -> None:\n{generated}\n\n\n{after}")
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", INITIAL], check=True)


def _creations(url: str) -> str:
    """The body of a function that makes every table in an empty database."""
    with address.engine(address.address(url), poolclass=NullPool).connect() as connection:
        script = produce_migrations(MigrationContext.configure(connection), SQLModel.metadata)
    assert script.upgrade_ops is not None
    body = render_python_code(script.upgrade_ops)
    for verbose, plain in _PLAINER.items():
        body = body.replace(verbose, plain)
    return "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("# ###"))


if __name__ == "__main__":
    main()
