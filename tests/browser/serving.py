"""What gunicorn runs for the browser: the application as it is, at an instant that the test sets."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from flask import Flask

from agentidp import create_app

CLOCK = "CLOCK_OF_THE_BROWSER_TESTS"
"""The environment variable that names a file with the instant, in ISO 8601."""


def app() -> Flask:
    """The application; every worker reads the clock's file at each request."""
    clock = Path(os.environ[CLOCK])
    return create_app(clock=lambda: datetime.fromisoformat(clock.read_text(encoding="ascii")))
