"""gunicorn's errors that show while Flask reads a request's body."""

from __future__ import annotations

from flask import Flask
from gunicorn.http.errors import ParseException

from agentidp.http.error_rendering import render_bad_request


def init_app(app: Flask) -> None:
    """Respond with 400 to a body that claims to be chunked and is not: gunicorn notices while the body is read."""
    app.register_error_handler(ParseException, render_bad_request)
