"""The log record of a request. It imports nothing of ours, since :mod:`agentidp.http.logs` changes what Python logs."""

from __future__ import annotations

import functools
import logging
import time
from typing import Any


def log_request(logger: logging.Logger, fields: dict[str, Any]) -> None:
    """Log a request, as ``logger.info("request", extra={"fields": fields})`` does if that level is enabled.

    Two requests' records differ by their time and fields only, and Python would take a file's name apart for each.
    """
    if logging.getLogRecordFactory() is not logging.LogRecord or logging.logThreads or logging.logProcesses:
        # A factory may look at the request, threads have names, and a forked process has another id.
        logger.info("request", extra={"fields": fields})
        return
    first, now = _first_record(logger), time.time()
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__ = {
        **first.__dict__,
        "created": now,
        "msecs": int(now % 1 * 1000) + 0.0,
        "relativeCreated": first.relativeCreated + (now - first.created) * 1000,
        "fields": fields,
    }
    logger.handle(record)


@functools.lru_cache(maxsize=16)
def _first_record(logger: logging.Logger) -> logging.LogRecord:
    # As Logger._log() does without _srcfile.
    return logger.makeRecord(logger.name, logging.INFO, "(unknown file)", 0, "request", (), None, "(unknown function)")
