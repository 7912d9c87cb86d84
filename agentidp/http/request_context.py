"""The context of a request: its id, its instant, and its log line."""

from __future__ import annotations

import logging
import logging.config
import re
import time
import uuid

from flask import Flask, Response, g, request

logger = logging.getLogger("agentidp")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def init_app(app: Flask) -> None:
    """Give each request its id and its instant, and log it when the response is sent."""

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        g.at = app.extensions["agentidp"].clock()
        sent = request.environ.get("HTTP_X_REQUEST_ID", "")
        g.request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if logger.isEnabledFor(logging.INFO):
            caller = g.get("caller")
            logger.info(
                "request",
                extra={
                    "fields": {
                        "method": request.method,
                        "path": request.path,
                        "status": response.status_code,
                        "ms": round((time.perf_counter() - g.started) * 1000, 2),
                        "request_id": g.request_id,
                        "organization": caller.organization_id if caller else g.get("organization_id"),
                        "agent": str(caller.agent_id if caller else g.get("agent_id") or "") or None,
                    }
                },
            )
        return response
