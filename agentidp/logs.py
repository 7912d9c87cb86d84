"""Logs: one JSON object a line, on standard error. A line break in a value is escaped, so no client can forge one."""

from __future__ import annotations

import json
import logging
import logging.config
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, request

logger = logging.getLogger("agentidp")

_encode = json.JSONEncoder(default=str).encode
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Where gunicorn goes on with what the client sent, which can hold a secret: a line that it does not take for a header,
# a query.
_QUOTED = re.compile(r"(?<=^Invalid request from ip=)(\S+: [^:]*).*|(?<=^Error handling request )([^?]*).*", re.DOTALL)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; ``extra={"fields": …}`` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback gives its type, never its text."""
        message = record.getMessage()
        if record.name == "gunicorn.error":
            message = _QUOTED.sub(lambda found: found[1] or found[2], message)
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": message,
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return _encode(line)


def logging_config(level: str) -> dict[str, Any]:
    """For :func:`logging.config.dictConfig` and gunicorn's ``logconfig_dict``."""
    quiet = {"level": level, "handlers": ["stderr"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "agentidp.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {"agentidp": quiet, "gunicorn.error": quiet, "gunicorn.access": {**quiet, "level": "WARNING"}},
    }


def init_app(app: Flask) -> None:
    """Give each request its id and its instant, and log it when it is answered."""

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
