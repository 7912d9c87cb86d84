"""gunicorn's threaded worker with two differences.

- It does not quote unreadable requests in the log and the response, because the query or a header of such a request can
  contain a secret. gunicorn has no documented way to hide them.
- A worker that stops accepts the connections that wait at its own listening sockets, because the kernel would reset
  them. gunicorn closes these sockets only when the worker's last request is complete.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
from typing import Any

from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from agentidp.http.errors import ValidationError

logger = logging.getLogger("agentidp")

STATUSES = {
    "LimitRequestLine": "414 URI Too Long",
    "LimitRequestHeaders": "431 Request Header Fields Too Large",
    "ExpectationFailed": "417 Expectation Failed",
    "UnsupportedTransferCoding": "501 Not Implemented",
}
"""HTTP status by the exception that gunicorn raises for an unreadable request. All other exceptions mean 400."""

_WORD_BEGINS = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Worker(ThreadWorker):
    alive: bool

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or pause accepting connections.

        If the worker stops and has its own listening sockets, accept the connections that wait there, up to the maximum
        number of connections, and close the sockets.
        """
        super().set_accept_enabled(enabled)
        if enabled or self.alive or not self.cfg.reuse_port:
            return
        while self.sockets:
            listener = self.sockets.pop()
            for _ in range(self.worker_connections - self.nr_conns):
                self.accept(listener)
            listener.close()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Log a request that gunicorn cannot read, and respond. Log and response contain only the kind of the error."""
        is_response_error = isinstance(exc, (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName))
        if is_response_error or not isinstance(exc, errors.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        exception_name = type(exc).__name__
        error_kind = _WORD_BEGINS.sub(" ", exception_name).lower()
        # A peer on a UNIX socket has no address.
        log_fields = {"error": error_kind, "address": addr[0] if isinstance(addr, tuple) else None}
        logger.warning("unreadable request", extra={"fields": log_fields})
        response_body = json.dumps(ValidationError(f"The request cannot be read: {error_kind}.").body())
        response_head = (
            f"HTTP/1.1 {STATUSES.get(exception_name, '400 Bad Request')}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(response_body)}\r\nCache-Control: no-store\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            # If the socket's buffer is full, the response is dropped, so that a slow client cannot block the thread.
            client.send((response_head + response_body).encode(), socket.MSG_DONTWAIT)
