"""Real servers for whoever names none: PostgreSQL, and Redis in `worker.embedded.redis`, from wheels, on this machine.

Whether a server runs is never guessed from a process id. The server inherits a locked file, so the lock is held
exactly as long as one of its processes lives, and a kill -9 frees it.
"""

from worker.embedded.postgres import DATABASE, OWNER, WORKER, Embedded, folder, running, start, stop

__all__ = ["DATABASE", "OWNER", "WORKER", "Embedded", "folder", "running", "start", "stop"]
