"""A faithful local Entra ID tenant: Microsoft Graph's users and groups, and the token endpoint, over real TLS."""

from worker.sandbox.entra.server import EntraSandbox

__all__ = ["EntraSandbox"]
