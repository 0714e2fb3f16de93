"""A Looker to try Trueup on: API 4.0 as far as a reconciler meets it, with the traps that real instances have."""

from worker.sandbox.looker.server import LookerSandbox

__all__ = ["LookerSandbox"]
