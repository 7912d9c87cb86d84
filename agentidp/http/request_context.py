"""The context of a request: its id, its time, and its log line."""

from __future__ import annotations

import logging
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
    """The class of Flask's ``g``, faster than Flask's own class. The dashboard also sets ``session`` and ``viewer``."""

    started: float
    """The value of ``time.perf_counter()`` when the request began."""
    at: datetime
    """The instant at which the request is counted, and at which a token that it requests is issued."""
    request_id: str
    span: Any
    caller: Any = None
    organization_id: str | None = None
    agent_id: Any = None
    quota: str | None = None
    """Text for the log line about a used-up quota: its holder, its window, and ``refused`` or ``observed``."""
    max_rows: int | None = None
    """Maximum number of rows in a response, or ``None`` without a maximum."""
    row_count = 0
    """Number of rows that the response would have without :attr:`max_rows`."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or *default* if it is missing."""
        return getattr(self, name, default)


current_request: Callable[[], Request] = request._get_current_object  # type: ignore[attr-defined]
"""Returns the current request. Flask's proxy ``request`` is slower."""

current_context: Callable[[], Context] = g._get_current_object
"""Returns the context of the current request. Flask's proxy ``g`` is slower."""


def request_actor(type_: str, name: str, display_name: str | None = None) -> Actor:
    """Return the actor of the current request for audit events. The parameters are those of :class:`Actor`."""
    return Actor(type_, name, current_request().remote_addr, current_context().request_id, display_name)


def _add_request_id(record: logging.LogRecord) -> bool:
    fields = getattr(record, "fields", {})
    if "request_id" not in fields and has_request_context():
        record.fields = fields | {"request_id": current_context().get("request_id")}
    return True


def init_app(app: Flask) -> None:
    """Set the id and the time of each request, and log each request when its response is complete."""
    logger.addFilter(_add_request_id)

    @app.before_request
    def begin_request() -> None:
        context, environ = current_context(), current_request().environ
        context.started = time.perf_counter()
        context.at = app.extensions["agentidp"].clock()
        client_request_id = environ.get("HTTP_X_REQUEST_ID", "")
        context.request_id = client_request_id if _REQUEST_ID.fullmatch(client_request_id) else os.urandom(16).hex()

    @app.after_request
    def end_request(response: Response) -> Response:
        context, http_request, headers = current_context(), current_request(), response.headers
        # add() is faster than an assignment, which would search for an earlier value. No view sets X-Request-Id.
        headers.add("X-Request-Id", context.request_id)
        if "Cache-Control" not in headers:
            headers.add("Cache-Control", "no-store")
        headers.add("X-Content-Type-Options", "nosniff")
        if logger.isEnabledFor(logging.INFO):
            caller = context.caller
            log_fields = {
                "method": http_request.method,
                "path": http_request.path,
                "status": response.status_code,
                "ms": round((time.perf_counter() - context.started) * 1000, 2),
                "request_id": context.request_id,
                "organization": caller.organization_id if caller else context.organization_id,
                "agent": str((caller.agent_id if caller else context.agent_id) or "") or None,
            }
            if context.quota is not None:
                log_fields["quota"] = context.quota
            logger.info("request", extra={"fields": log_fields})
        return response
