"""gunicorn's errors that show while Flask reads a request's body.

It imports ``gunicorn.http.errors``, which gunicorn does not document. There is nothing public: WSGI does not say how a
server reports a body that breaks HTTP's rules, and gunicorn raises its own exception out of ``wsgi.input``.
"""

from __future__ import annotations

from flask import Flask
from gunicorn.http.errors import ParseException

from agentidp.http.error_rendering import render_bad_request


def init_app(app: Flask) -> None:
    """Respond with 400 to a body that claims to be chunked and is not: gunicorn notices while the body is read."""
    app.register_error_handler(ParseException, render_bad_request)
