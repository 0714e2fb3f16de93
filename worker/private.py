"""Files that people ask for - plans, reports, the trail - name people, so only whoever asked for one can read it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from worker.errors import Misconfigured


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """A file to write text to: one that is new is private, one that is there keeps its rights and loses its content.

    A symbolic link is not followed: in a folder that others write to, it may lead anywhere. Raises Misconfigured where
    it cannot be written.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        is_link = error.errno == errno.ELOOP
        said = "it is a symbolic link; name the file itself" if is_link else error.strerror
        raise Misconfigured(f"The result cannot be written to {path}: {said}.") from error
