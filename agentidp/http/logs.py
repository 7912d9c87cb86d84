"""Logging to standard error, one line per record: JSON, or text on a terminal."""

from __future__ import annotations

import json
import logging
import logging.config
import re
import sys
from datetime import UTC, datetime
from typing import Any

# Logging is faster without the calling function, thread and process, which our log lines do not show (logging HOWTO).
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
# mypy would refuse logAsyncioTasks, because Python 3.11 lacks this attribute.
logging.logAsyncioTasks = False  # type: ignore[attr-defined]

_encode = json.JSONEncoder(default=str).encode
# Matches the values that the text format shows without quotes. Other values are shown as JSON.
_PLAIN = re.compile(r"[A-Za-z0-9._:/{}<>+-]+")
# Matches the two messages in which gunicorn quotes a request. The group is the text before the quotation, because the
# request can contain a secret.
_QUOTED = re.compile(r"^(Error handling request [^?]*|Ignored premature client disconnection).*", re.DOTALL)


def collect_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a log line, in order, including the record's ``extra={"fields": …}``."""
    message = record.getMessage()
    if record.name == "gunicorn.error":
        message = _QUOTED.sub(r"\1", message)
    fields: dict[str, Any] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "message": message,
        **getattr(record, "fields", {}),
    }
    if record.exc_info and record.exc_info[0] is not None:
        # The message of an exception can contain a secret, so only its type is logged.
        fields["error"] = record.exc_info[0].__name__
    return fields


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a log record as a line of JSON."""
        return _encode(collect_fields(record))


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a log record as a line of text: the UTC time, the level, the message, and ``name=value`` per field."""
        fields = collect_fields(record)
        at, level, message = fields.pop("at"), fields.pop("level"), fields.pop("message")
        field_texts = [
            f"{field_name}={field_value if _PLAIN.fullmatch(str(field_value)) else _encode(field_value)}"
            for field_name, field_value in fields.items()
            if field_value is not None
        ]
        printable_message = message if message.isprintable() else _encode(message)
        return " ".join([at[11:19], f"{level:<7}", printable_message, *field_texts])


def build_logging_config(level: str, log_format: str) -> dict[str, Any]:
    """Return the configuration for :func:`logging.config.dictConfig` and gunicorn's ``logconfig_dict``."""
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    formatter_path = "agentidp.http.logs.TextFormatter" if is_text else "agentidp.http.logs.JsonFormatter"
    logger_config = {"level": level, "handlers": ["stderr"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter_path}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "agentidp": logger_config,
            "gunicorn.error": logger_config,
            "gunicorn.access": {**logger_config, "level": "WARNING"},
            # psycopg's warnings about failed connections are dropped, because agentidp.db logs the same failures.
            "psycopg.pool": {**logger_config, "level": "ERROR"},
        },
    }
