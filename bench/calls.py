"""How many functions Python calls for a request: a figure without noise, which shows a relapse."""

from __future__ import annotations

import base64
import cProfile
import io
import json
import logging
import pstats
from typing import Any

from flask import Flask

from agentidp import create_app
from agentidp.config import Settings

REQUESTS = 100
"""A profile; the first of all read the keys, open the connection and prepare the statements."""


def environ(method: str, path: str, authorization: str, *, query: str = "", form: str = "") -> dict[str, Any]:
    """The WSGI environment of a request, as gunicorn makes it."""
    made = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_AUTHORIZATION": authorization,
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(form.encode()),
        "wsgi.errors": io.StringIO(),
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if form:
        made |= {"CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(form))}
    return made


def send(app: Flask, request: dict[str, Any]) -> bytes:
    """The body of the response to a request, which must be a 200."""
    statuses: list[str] = []
    body = app.wsgi_app(request, lambda status, headers, exc_info=None: statuses.append(status))
    text = b"".join(body)
    assert statuses == ["200 OK"], (statuses, text)
    return text


def calls(app: Flask, requests: list[dict[str, Any]]) -> float:
    """Calls of a request, those of functions in C included, on average."""
    profile = cProfile.Profile()
    for request in requests:
        profile.runcall(send, app, request)
    return sum(row[1] for row in pstats.Stats(profile).stats.values()) / len(requests)  # type: ignore[attr-defined]


def calls_of_token_and_trend(settings: Settings, client: tuple[str, str]) -> tuple[float, float]:
    """Calls of a token request and of the trend of 30 days.

    :param settings: with a migrated database and its keys.
    :param client: ``client_id`` and ``client_secret`` of an agent that may read the analytics.
    """
    app = create_app(settings)
    logger = logging.getLogger("agentidp")
    handler = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    level, logger.level = logger.level, logging.INFO
    try:
        basic = "Basic " + base64.b64encode(":".join(client).encode()).decode()

        def token() -> dict[str, Any]:
            return environ("POST", "/api/v1/token", basic, form="grant_type=client_credentials")

        bearer = f"Bearer {json.loads(send(app, token()))['access_token']}"

        def trend() -> dict[str, Any]:
            return environ("GET", "/api/v1/analytics/tokens", bearer, query="days=30")

        send(app, trend())
        return calls(app, [token() for _ in range(REQUESTS)]), calls(app, [trend() for _ in range(REQUESTS)])
    finally:
        logger.removeHandler(handler)
        logger.level = level
        app.extensions["agentidp"].close()
