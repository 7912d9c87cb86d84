"""What gunicorn runs for the browser: the application as it is, at an instant that the test sets."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from flask import Flask

from agentidp import create_app
from agentidp.clock import utc_now

CLOCK = "CLOCK_OF_THE_BROWSER_TESTS"
"""The environment variable that names a file with the instant, in ISO 8601; empty, if the clock runs."""


def read_clock(file: Path) -> datetime:
    """The instant that the file names, or the present."""
    instant = file.read_text(encoding="ascii")
    return datetime.fromisoformat(instant) if instant else utc_now()


def app() -> Flask:
    """The application; every worker reads the clock's file at each request."""
    clock = Path(os.environ[CLOCK])
    return create_app(clock=lambda: read_clock(clock))
