"""What trueup.yaml says: connectors, policy and guards, read with the line of every key kept for messages."""

from worker.settings.connectors import Connectors, Installed
from worker.settings.json_schema import schema
from worker.settings.loading import Loaded, load
from worker.settings.model import Settings
from worker.settings.starter import starter

__all__ = ["Connectors", "Installed", "Loaded", "Settings", "load", "schema", "starter"]
