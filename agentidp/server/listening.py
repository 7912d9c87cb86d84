"""The address that the service listens on: what it may be, and whether it is free."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import socket
import struct
from pathlib import Path

from agentidp.config import ConfigurationError

_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:,]*)):(?P<port>[0-9]{1,5})")


class AddressFilter(logging.Filter):
    """Puts the address into gunicorn's line "Listening at": with reuse_port its workers listen, and not gunicorn, which
    then logs an empty one.
    """

    def __init__(self, addresses: list[str]) -> None:
        super().__init__()
        self._addresses = ", ".join(addresses)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        if record.msg == "Listening at: %s (%s)" and isinstance(record.args, tuple) and not record.args[0]:
            record.args = (self._addresses, record.args[1])
        return True


def refuse_exposed_address(bind: str, trusted_proxies: int) -> None:
    """Let only this machine connect, unless a proxy stands in front.

    gunicorn reads a request in one of its threads and sets no deadline, so a client that sends half a request holds
    the thread. A deadline would not help: a client that connects again each time holds it as well. nginx sends a
    request on when it has all of it.

    :param bind: ``address:port`` or ``unix:path``.
    :param trusted_proxies: the setting AGENTIDP_TRUSTED_PROXIES.
    :raises ConfigurationError: other machines could connect, or it is no address.
    """
    if bind.startswith("unix:"):
        return
    host, _ = host_and_port(bind)
    if trusted_proxies == 0 and not _is_loopback(host):
        raise ConfigurationError(
            f"cannot listen on {bind} without a proxy: a client that sends half a request holds a thread of the "
            "service for as long as it likes, so a few such clients stop it; listen on 127.0.0.1 or a UNIX socket, or "
            "put nginx in front and set AGENTIDP_TRUSTED_PROXIES=1"
        )


def refuse_busy_address(bind: str, *, hint: str = "set PORT to another port") -> None:
    """Refuse an address that gunicorn could not listen on, or would share: with reuse_port two instances can.

    :param bind: ``address:port`` or ``unix:path``.
    :param hint: what the operator can do.
    :raises ConfigurationError: something listens there, or it is not an address of this machine.
    """
    if bind.startswith("unix:"):
        _refuse_busy_socket(Path(bind.removeprefix("unix:")))
        return
    host, port = host_and_port(bind)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {bind}: {error.strerror or error}; {hint}") from None


def host_and_port(bind: str) -> tuple[str, int]:
    """The parts of ``address:port``; an IPv6 address stands in brackets, and comes without them.

    :raises ConfigurationError: it is something else.
    """
    parts = _ADDRESS.fullmatch(bind)
    if parts is None or not 0 < int(parts["port"]) <= 65_535:
        raise ConfigurationError(f"the address to listen on must be address:port or unix:path, not {bind!r}")
    return parts["ipv6"] or parts["host"] or "", int(parts["port"])


def limit_sending(listeners: list[socket.socket], seconds: int) -> None:
    """Let no client that reads nothing hold a thread: sending to it fails if it takes nothing for so long.

    By the kernel, which gives the option to each connection that a TCP socket accepts, because gunicorn sets no time
    limit and removes that of Python. A UNIX socket's connections do not get it: nginx is at their other end, which
    reads a whole response.
    """
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_busy_socket(path: Path) -> None:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise ConfigurationError(f"another process listens on unix:{path}")
    except OSError as error:
        raise ConfigurationError(f"cannot listen on unix:{path}: {error}") from None
    # gunicorn replaces a socket that nobody listens on any more, and nothing else.
    if path.exists() and not path.is_socket():
        raise ConfigurationError(f"cannot listen on unix:{path}: the file is not a socket")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(f"cannot listen on unix:{path}: {path.parent} cannot be written to")
