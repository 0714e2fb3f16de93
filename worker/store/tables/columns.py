"""Columns that many tables have: moments with their zone, JSON, and what is valid now."""

from typing import Any

from sqlalchemy import DateTime, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

NOW_VALID = text("valid_to IS NULL")


def when(*, null: bool = False, primary: bool = False, default: Any = ...) -> Any:
    if null:
        return Field(default=None, sa_type=DateTime(timezone=True), nullable=True)
    return Field(default=default, sa_type=DateTime(timezone=True), primary_key=primary, nullable=False)


def as_json() -> Any:
    return Field(default_factory=dict, sa_type=JSONB, nullable=False)
