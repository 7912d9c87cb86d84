"""Handles the exceptions that gunicorn raises while Flask reads a request's body.

The module ``gunicorn.http.errors`` is not documented, but there is no public alternative: WSGI does not define how a
server reports a body that violates HTTP, and reading ``wsgi.input`` raises gunicorn's own exception.
"""

from __future__ import annotations

from flask import Flask
from gunicorn.http.errors import ParseException

from agentidp.http.error_rendering import render_bad_request


def init_app(app: Flask) -> None:
    """Respond with 400 to an invalid chunked body, which gunicorn notices only while the body is read."""
    app.register_error_handler(ParseException, render_bad_request)
