"""Logging to standard error, one line per record: JSON, or text on a terminal."""

from __future__ import annotations

import json
import logging
import logging.config
import re
import sys
from datetime import UTC, datetime
from typing import Any

# Our log lines show none of these values, and logging is faster without them (logging HOWTO, "Optimization").
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
# Python 3.11 lacks this attribute.
logging.logAsyncioTasks = False  # type: ignore[attr-defined]

_encode = json.JSONEncoder(default=str).encode
# The text format shows these values without quotes, and all other values as JSON.
_PLAIN = re.compile(r"[A-Za-z0-9._:/{}<>+-]+")
# gunicorn quotes the request, which can contain a secret, in two messages. The group is the text before the quotation.
_QUOTED = re.compile(r"^(Error handling request [^?]*|Ignored premature client disconnection).*", re.DOTALL)


def collect_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a log line, in order, including the record's ``extra={"fields": …}``."""
    message = record.getMessage()
    if record.name == "gunicorn.error":
        message = _QUOTED.sub(r"\1", message)
    line: dict[str, Any] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "message": message,
        **getattr(record, "fields", {}),
    }
    if record.exc_info and record.exc_info[0] is not None:
        # The message of an exception can contain a secret, so only its type is logged.
        line["error"] = record.exc_info[0].__name__
    return line


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a log record as a line of JSON."""
        return _encode(collect_fields(record))


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a log record as a line of text: the UTC time, the level, the message, and ``name=value`` per field."""
        line = collect_fields(record)
        at, level, message = line.pop("at"), line.pop("level"), line.pop("message")
        fields = [
            f"{name}={value if _PLAIN.fullmatch(str(value)) else _encode(value)}"
            for name, value in line.items()
            if value is not None
        ]
        return " ".join([at[11:19], f"{level:<7}", message if message.isprintable() else _encode(message), *fields])


def build_logging_config(level: str, log_format: str) -> dict[str, Any]:
    """Return the configuration for :func:`logging.config.dictConfig` and gunicorn's ``logconfig_dict``."""
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    formatter = "agentidp.http.logs.TextFormatter" if is_text else "agentidp.http.logs.JsonFormatter"
    logger = {"level": level, "handlers": ["stderr"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "agentidp": logger,
            "gunicorn.error": logger,
            "gunicorn.access": {**logger, "level": "WARNING"},
            # psycopg's warnings are dropped, because agentidp.db logs failed connections too.
            "psycopg.pool": {**logger, "level": "ERROR"},
        },
    }
