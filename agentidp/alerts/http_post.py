"""One HTTP POST to a checked address: no redirect, no proxy, no second resolution, and a deadline for all of it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult

from agentidp.alerts.networks import AddressRefused, AllowedNetworks

TIMEOUT = 10.0
"""Seconds for connecting, sending and the response's status and headers together. Resolving the name comes on top."""


class PostFailed(Exception):
    """There was no response. The message is for the organization and contains no secret."""


def post(url: SplitResult, body: bytes, headers: Mapping[str, str], networks: AllowedNetworks) -> int:
    """Send *body*, and return the response's status. The response's body is not read.

    :param url: http or https.
    :raises PostFailed: the address is refused, or there was no response in time.
    """
    host, is_plain = url.hostname or "", url.scheme == "http"
    port = url.port or (80 if is_plain else 443)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        addresses = networks.resolve(host, port, is_plain=is_plain)
        connection = (_PlainConnection if is_plain else _TlsConnection)(host, port, addresses)
        with contextlib.closing(connection), _deadline(connection):
            connection.request("POST", target, body, dict(headers))
            return connection.getresponse().status
    except AddressRefused as refused:
        raise PostFailed(str(refused)) from None
    except TimeoutError:
        raise PostFailed(f"no response within {TIMEOUT:g} seconds") from None
    except ssl.SSLCertVerificationError as error:
        # Behind the comma is the host, which only those know who may change the target.
        raise PostFailed(f"the certificate is refused: {error.verify_message.partition(',')[0]}") from None
    except OSError as error:
        raise PostFailed(f"no connection: {error.strerror or type(error).__name__}") from None
    except (http.client.HTTPException, UnicodeError) as error:
        # The message could repeat what was sent.
        raise PostFailed(f"no HTTP response: {type(error).__name__}") from None


class _PlainConnection(http.client.HTTPConnection):
    """Connects to addresses that were checked, and sends the host's name."""

    def __init__(self, host: str, port: int, addresses: list[str]) -> None:
        super().__init__(host, port, timeout=TIMEOUT)
        self.addresses = addresses

    def connect(self) -> None:
        """Connect to the first address that accepts a connection."""
        self.sock = _connected(self.addresses, self.port)


class _TlsConnection(_PlainConnection):
    """The same by TLS: the certificate must be the host's."""

    default_port = 443

    def connect(self) -> None:
        """Connect, and verify the certificate for the host's name."""
        super().connect()
        # The handshake is a step of its own, so that the deadline can end it.
        self.sock = ssl.create_default_context().wrap_socket(
            self.sock, server_hostname=self.host, do_handshake_on_connect=False
        )
        self.sock.do_handshake()


def _connected(addresses: list[str], port: int) -> socket.socket:
    until = time.monotonic() + TIMEOUT
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, port), max(0.1, until - time.monotonic()))
    return socket.create_connection((addresses[-1], port), max(0.1, until - time.monotonic()))


@contextlib.contextmanager
def _deadline(connection: http.client.HTTPConnection) -> Iterator[None]:
    """End the connection after ``TIMEOUT``: a receiver that sends a byte a second never exceeds the socket's timeout.

    :raises TimeoutError: it was ended.
    """
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(TIMEOUT, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not is_over.is_set():
            raise
    finally:
        timer.cancel()
    # Also if a response was taken for complete, because its headers ended there.
    if is_over.is_set():
        raise TimeoutError
