"""Checks of the address that the service listens on, and socket options for its listeners."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import struct
from pathlib import Path

from agentidp.config import ConfigurationError, split_address


class AddressFilter(logging.Filter):
    """Adds the service's address to gunicorn's log line "Listening at", which otherwise has no address.

    Because of the setting reuse_port, only the workers listen, and not gunicorn's main process, which logs the line.
    """

    def __init__(self, addresses: list[str]) -> None:
        super().__init__()
        self._addresses = ", ".join(addresses)

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the address to the record. Return true, so that every record is logged."""
        if record.msg == "Listening at: %s (%s)" and isinstance(record.args, tuple) and not record.args[0]:
            record.args = (self._addresses, record.args[1])
        return True


def refuse_exposed_address(bind: str, trusted_proxies: int) -> None:
    """Refuse an address that other machines can reach, unless a proxy is in front of the service.

    :param bind: ``address:port`` or ``unix:path``.
    :raises ConfigurationError: other machines could connect, or *bind* is not a valid address.
    """
    if bind.startswith("unix:"):
        return
    host, _ = parse_address(bind)
    if trusted_proxies == 0 and not _is_loopback(host):
        raise ConfigurationError(
            f"cannot listen on {bind} without a proxy: a client that sends half a request holds a thread of the "
            "service for as long as it likes, so a few such clients stop it; listen on 127.0.0.1 or a UNIX socket, or "
            "put nginx in front and set AGENTIDP_TRUSTED_PROXIES=1"
        )


def refuse_busy_address(bind: str, *, advice: str = "set PORT to another port") -> None:
    """Refuse an address on which gunicorn cannot listen, or on which another instance listens.

    :param bind: ``address:port`` or ``unix:path``.
    :param advice: the last clause of the error message, which says what the operator can do.
    :raises ConfigurationError: the address cannot be used.
    """
    if bind.startswith("unix:"):
        _refuse_busy_socket(Path(bind.removeprefix("unix:")))
        return
    host, port = parse_address(bind)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe_socket:
            probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe_socket.bind((host, port))
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {bind}: {error.strerror or error}; {advice}") from None


def parse_address(bind: str) -> tuple[str, int]:
    """Split ``address:port``. An IPv6 address must be in brackets, which are removed.

    :raises ConfigurationError: *bind* has another form.
    """
    address = split_address(bind)
    if address is None:
        raise ConfigurationError(f"the address to listen on must be address:port or unix:path, not {bind!r}")
    return address


def limit_stalled_sending(listeners: list[socket.socket], seconds: int) -> None:
    """Make sending fail if a client receives nothing for *seconds*, so that the client cannot occupy a thread.

    The limit applies to small responses on the fast path. ``limit_sending_time`` (``server/sending.py``) limits other
    responses, for which the kernel ignores this limit.
    A UNIX socket's connections do not inherit the limit and do not need it, because their client, nginx, always reads.
    """
    for listener in listeners:
        # The time limit is a socket option, because gunicorn removes a time limit that Python sets.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_busy_socket(path: Path) -> None:
    try:
        with socket.socket(socket.AF_UNIX) as probe_socket:
            if probe_socket.connect_ex(str(path)) == 0:
                raise ConfigurationError(f"another process listens on unix:{path}")
    except OSError as error:
        raise ConfigurationError(f"cannot listen on unix:{path}: {error}") from None
    # gunicorn replaces a socket that another process has left behind, but no other type of file.
    if path.exists() and not path.is_socket():
        raise ConfigurationError(f"cannot listen on unix:{path}: the file is not a socket")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(f"cannot listen on unix:{path}: {path.parent} cannot be written to")
