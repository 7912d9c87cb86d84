"""The context of a request: its id, its instant, and its log line."""

from __future__ import annotations

import logging
import logging.config
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Flask, Request, Response, g, has_request_context, request

from agentidp.actor import Actor

logger = logging.getLogger("agentidp")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Context:
    """What ``g`` of Flask is: what every request has, as plain attributes. Flask's own calls Python for each."""

    started: float
    at: datetime
    request_id: str
    span: Any
    caller: Any = None
    organization_id: str | None = None
    agent_id: Any = None
    quota: str | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute that may be missing."""
        return getattr(self, name, default)


current_request: Callable[[], Request] = request._get_current_object  # type: ignore[attr-defined]
"""The request itself. Flask's ``request`` is a proxy, which costs as much as a small function at every use."""

current_context: Callable[[], Context] = g._get_current_object
"""Flask's ``g`` itself, likewise."""


def request_actor(type_: str, name: str, display_name: str | None = None) -> Actor:
    """Who makes the changes of the current request.

    :param type_: ``agent``, ``session``, ``person`` or ``anonymous``.
    :param name: the agent's id, or who the person is at the OpenID Connect provider.
    :param display_name: of the person.
    """
    return Actor(type_, name, current_request().remote_addr, current_context().request_id, display_name)


def _add_request_id(record: logging.LogRecord) -> bool:
    fields = getattr(record, "fields", {})
    if "request_id" not in fields and has_request_context():
        record.fields = fields | {"request_id": current_context().get("request_id")}
    return True


def init_app(app: Flask) -> None:
    """Give each request its id and its instant, and log it when the response is sent.

    Each line that is logged while a request is handled gets the id of the request.
    """
    logger.addFilter(_add_request_id)

    @app.before_request
    def begin() -> None:
        context, environ = current_context(), current_request().environ
        context.started = time.perf_counter()
        context.at = app.extensions["agentidp"].clock()
        sent = environ.get("HTTP_X_REQUEST_ID", "")
        context.request_id = sent if _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex()

    @app.after_request
    def end(response: Response) -> Response:
        context, received = current_context(), current_request()
        headers = response.headers
        # Added and not set, which would look for them: no view sends them.
        headers.add("X-Request-Id", context.request_id)
        if "Cache-Control" not in headers:
            headers.add("Cache-Control", "no-store")
        headers.add("X-Content-Type-Options", "nosniff")
        if logger.isEnabledFor(logging.INFO):
            caller = context.caller
            fields = {
                "method": received.method,
                "path": received.path,
                "status": response.status_code,
                "ms": round((time.perf_counter() - context.started) * 1000, 2),
                "request_id": context.request_id,
                "organization": caller.organization_id if caller else context.organization_id,
                "agent": str((caller.agent_id if caller else context.agent_id) or "") or None,
            }
            if context.quota is not None:
                fields["quota"] = context.quota
            logger.info("request", extra={"fields": fields})
        return response
