"""Okta as a source: every person and group of one org, read whole over its Management API."""

from worker.ports import Rate
from worker.sources.okta.settings import Settings
from worker.sources.okta.source import OktaSource, connect

__all__ = ["HOOKS", "RATE", "OktaSource", "Settings", "connect"]

# What Okta allows the lists of a larger org a minute; its headers say what holds for this one. An org of the smallest
# plan bears 35 calls at once, from everybody.
RATE = Rate(600, at_once=12)
HOOKS = "okta"
