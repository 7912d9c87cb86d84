"""How many functions Python calls for a request: a figure without noise, which shows a relapse."""

from __future__ import annotations

import base64
import cProfile
import io
import json
import logging
import pstats
from collections.abc import Callable
from typing import Any

from flask import Flask

from agentidp import create_app
from agentidp.config import Settings
from agentidp.http.logs import JsonFormatter

REQUESTS = 100
"""A profile. Before it, one request reads the keys, opens the connection and prepares the statement."""


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

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda _: None

    body = app.wsgi_app(request, start_response)
    text = b"".join(body)
    assert statuses == ["200 OK"], (statuses, text)
    return text


def calls(app: Flask, requests: list[dict[str, Any]]) -> float:
    """Calls of a request, those of functions in C included, on average."""
    profile = cProfile.Profile()
    for request in requests:
        profile.runcall(send, app, request)
    return sum(row[1] for row in pstats.Stats(profile).stats.values()) / len(requests)  # type: ignore[attr-defined]


def calls_by_case(settings: Settings, client: tuple[str, str]) -> dict[str, float]:
    """Calls of a request, for each endpoint that the benchmark measures.

    Each case issues ``REQUESTS`` tokens at most, and one more token is issued for the others.

    :param settings: with a migrated database and its keys.
    :param client: ``client_id`` and ``client_secret`` of an agent that may read the analytics.
    """
    app = create_app(settings)
    logger = logging.getLogger("agentidp")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(JsonFormatter())
    handlers, logger.handlers = logger.handlers, [handler]
    kept, logger.level, logger.propagate = (logger.level, logger.propagate), logging.INFO, False
    try:
        basic = "Basic " + base64.b64encode(":".join(client).encode()).decode()

        def token() -> dict[str, Any]:
            return environ("POST", "/api/v1/token", basic, form="grant_type=client_credentials")

        access_token = json.loads(send(app, token()))["access_token"]

        def read(path: str, query: str = "") -> Callable[[], dict[str, Any]]:
            return lambda: environ("GET", f"/api/v1/analytics/{path}", f"Bearer {access_token}", query=query)

        def introspection() -> dict[str, Any]:
            return environ("POST", "/api/v1/token/introspect", basic, form=f"token={access_token}")

        cases = {
            "token": token,
            "trend": read("tokens", "days=30"),
            "heatmap": read("agents/activity"),
            "agents": read("agents"),
            "introspection": introspection,
        }
        found = {}
        for name, request in cases.items():
            if name != "token":
                send(app, request())
            found[name] = calls(app, [request() for _ in range(REQUESTS)])
        return found
    finally:
        logger.handlers = handlers
        logger.level, logger.propagate = kept
        app.extensions["agentidp"].close()
