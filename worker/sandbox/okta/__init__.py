"""A faithful local Okta org: users, groups, members, lifecycle and sign-in of API clients, over real HTTP."""

from worker.sandbox.okta.server import OktaSandbox

__all__ = ["OktaSandbox"]
