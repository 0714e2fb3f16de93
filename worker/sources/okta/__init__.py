"""Okta as a source: every person and group of one org, read whole over its Management API."""

from worker.sources.okta.settings import Settings
from worker.sources.okta.source import OktaSource, connect

__all__ = ["OktaSource", "Settings", "connect"]
