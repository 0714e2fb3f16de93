"""The rate budget: how many calls of a vendor's tenant all workers of Trueup together may make, and when."""

from worker.budget.budget import LONGEST_WAIT, Budget, Use
from worker.budget.shared import client, ping
from worker.budget.terms import Terms, tenant_of

__all__ = ["LONGEST_WAIT", "Budget", "Terms", "Use", "client", "ping", "tenant_of"]
