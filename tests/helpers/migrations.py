"""Waits for migrations."""

from __future__ import annotations

from agentidp.db.migrations import steps
from tests.factories import (
    execute,
    wait_until,
)

RELEASED = [step.name for step in steps()]


def wait_for(url: str, condition: str) -> None:
    """Wait until *condition*, an SQL expression, is true in a database."""
    wait_until(lambda: execute(url, f"select {condition}") == [(True,)])
