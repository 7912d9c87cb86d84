"""What gunicorn runs for the browser: the application as it is, at an instant that the test sets."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from flask import Flask

from agentidp import create_app
from agentidp.clock import utc_now

CLOCK = "CLOCK_OF_THE_BROWSER_TESTS"
"""The environment variable that names a file with the time in ISO 8601. The file is empty if the clock runs."""


def read_clock(file: Path) -> datetime:
    """Return the time in the file, or the present time if the file is empty."""
    instant = file.read_text(encoding="ascii")
    return datetime.fromisoformat(instant) if instant else utc_now()


def app() -> Flask:
    """Return the application. Every worker reads the file of the clock at each request."""
    clock = Path(os.environ[CLOCK])
    return create_app(clock=lambda: read_clock(clock))
