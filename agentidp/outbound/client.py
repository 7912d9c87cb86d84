"""Sends HTTP requests to checked addresses, with limits for time and size, and without following redirects.

AgentIdP sends all its requests with this client, except those of apprise, which has its own process.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from agentidp.outbound.networks import AddressRefused, AllowedNetworks

MAX_OVERHEAD = 64 * 1024
"""Maximum number of bytes that a response has in addition to its body: status lines, headers, chunk sizes, trailers."""


def find_proxy(url: SplitResult) -> str | None:
    """Return the proxy in ``HTTPS_PROXY`` for an https URL, or None if there is none or ``NO_PROXY`` names the host."""
    if url.scheme != "https" or urllib.request.proxy_bypass(url.netloc):
        return None
    return urllib.request.getproxies().get("https")


class RequestFailed(Exception):
    """There was no valid response. The user who entered the URL reads the message, so it contains no response data."""


class Response(NamedTuple):
    """A server's response. ``body`` is empty if the caller did not ask for the body."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


def request(
    method: str,
    url: SplitResult,
    *,
    networks: AllowedNetworks,
    timeout: float,
    max_body: int | None,
    headers: Mapping[str, str],
    body: bytes | None = None,
    proxy: str | None = None,
) -> Response:
    """Send a request, and return the response, whatever its status.

    :param url: an http or https URL, whose user information is ignored.
    :param timeout: maximum seconds for the whole request, except for resolving the host name.
    :param max_body: maximum bytes of the response's body. None means that the body is not read.
    :param proxy: the http URL of a proxy for https requests, or None. The proxy resolves the host name, so *networks*
        does not apply.
    :raises RequestFailed: the address is refused, there was no response in time, or the response is too large.
    """
    is_plain = url.scheme == "http"
    try:
        host, port = url.hostname or "", url.port or (80 if is_plain else 443)
    except ValueError:
        raise RequestFailed("the address has an invalid port") from None
    all_headers = {"Host": url.netloc.rpartition("@")[2], "Connection": "close", **headers}
    request_target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        ip_addresses: list[str] = []
        if proxy is not None and not is_plain:
            connection = _open_tunnel(host, port, urlsplit(proxy), timeout)
        else:
            ip_addresses = networks.resolve(host, port, is_plain=is_plain)
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        with contextlib.closing(connection), _enforce_deadline(connection, timeout) as apply_deadline:
            if ip_addresses:
                # Connecting by name would resolve the name again, possibly to an address that was not checked.
                connection.sock = _connect(ip_addresses, port, timeout)
            else:
                connection.connect()
            apply_deadline()
            if not is_plain:
                _start_tls(connection, host, apply_deadline)
            response_class = partial(_LimitedResponse, max_bytes=MAX_OVERHEAD + (max_body or 0))
            connection.response_class = response_class  # type: ignore[assignment]
            connection.request(method, request_target, body, all_headers)
            with connection.getresponse() as response:
                response_body = b"" if max_body is None else _read_body(response, max_body)
                return Response(response.status, response.reason, response.getheaders(), response_body)
    except AddressRefused as error:
        raise RequestFailed(str(error)) from None
    except TimeoutError:
        raise RequestFailed(f"no response within {timeout:g} seconds") from None
    except ssl.SSLCertVerificationError as error:
        # The text after the comma is cut off, because it names the host, which is secret for an alert target.
        raise RequestFailed(f"the certificate is refused: {error.verify_message.partition(',')[0]}") from None
    except OSError as error:
        raise RequestFailed(f"no connection: {error.strerror or type(error).__name__}") from None
    except (http.client.HTTPException, ValueError) as error:
        # The message is not shown, because it could contain data of the request or of an internal server's response.
        raise RequestFailed(f"no HTTP response: {type(error).__name__}") from None


class _LimitedResponse(http.client.HTTPResponse):
    """A response of at most *max_bytes*. Endless headers would otherwise occupy the process until the deadline."""

    def __init__(self, sock: socket.socket, *arguments: Any, max_bytes: int, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_LimitedReader(self.fp.detach(), max_bytes))


class _LimitedReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, max_bytes: int) -> None:
        self._raw, self._remaining_bytes = raw, max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        byte_count = self._raw.readinto(buffer)
        self._remaining_bytes -= byte_count or 0
        if self._remaining_bytes < 0:
            raise RequestFailed("the response has too large headers")
        return byte_count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _open_tunnel(host: str, port: int, proxy: SplitResult, timeout: float) -> http.client.HTTPConnection:
    """Return an unopened connection that goes to the host through a proxy (CONNECT, RFC 9110 section 9.3.6)."""
    connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=timeout)
    credentials = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}".encode()
    proxy_headers = {"Proxy-Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
    connection.set_tunnel(host, port, proxy_headers if proxy.username is not None else {})
    return connection


def _connect(ip_addresses: list[str], port: int, timeout: float) -> socket.socket:
    """Connect to the first address that accepts, within *timeout* seconds for all addresses together."""
    deadline, last_error = time.monotonic() + timeout, OSError()
    for ip_address in ip_addresses:
        remaining_seconds = deadline - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError
        try:
            return socket.create_connection((ip_address, port), remaining_seconds)
        except OSError as error:
            last_error = error
    raise last_error


def _start_tls(connection: http.client.HTTPConnection, host: str, apply_deadline: Callable[[], None]) -> None:
    context = ssl.create_default_context()
    # The TLS handshake is done separately below, so that the deadline can interrupt it.
    tls_socket = context.wrap_socket(connection.sock, server_hostname=host, do_handshake_on_connect=False)
    connection.sock = tls_socket
    apply_deadline()
    tls_socket.do_handshake()


def _read_body(response: http.client.HTTPResponse, max_body: int) -> bytes:
    body = b""
    while chunk := response.read1(max_body + 1 - len(body)):
        body += chunk
        if len(body) > max_body:
            raise RequestFailed(f"the response has more than {max_body} bytes")
    return body


@contextlib.contextmanager
def _enforce_deadline(connection: http.client.HTTPConnection, timeout: float) -> Iterator[Callable[[], None]]:
    """Shut down the connection after *timeout* seconds. The socket's timeout would not stop a server that sends slowly.

    Yields a function that must be called whenever the connection gets a new socket.
    """
    has_expired = threading.Event()
    # This list keeps the sockets, because a connection forgets its socket if the server will close the connection.
    sockets: list[socket.socket] = []

    def shut_down() -> None:
        has_expired.set()
        for connected_socket in sockets:
            with contextlib.suppress(OSError):
                connected_socket.shutdown(socket.SHUT_RDWR)

    def raise_if_expired() -> None:
        if has_expired.is_set():
            raise TimeoutError

    def add_socket() -> None:
        sockets.append(connection.sock)
        raise_if_expired()

    timer = threading.Timer(timeout, shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield add_socket
    except (OSError, http.client.HTTPException):
        if not has_expired.is_set():
            raise
    finally:
        timer.cancel()
    # The deadline is checked again, because the timer can shut down the connection in the middle of a response, which
    # then looks complete.
    raise_if_expired()
