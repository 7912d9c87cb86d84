"""One HTTP request to a checked address: bounded in time and size, without redirects and a second resolution.

Everything that AgentIdP asks of other servers goes this way: webhooks, the metadata of resource servers, keys of
issuers, the OpenID Connect provider. (Only apprise opens connections itself, in a process of its own:
``alerts/apprise_child.py``.)
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from agentidp.outbound.networks import AddressRefused, AllowedNetworks


def proxy_of_environment(url: SplitResult) -> str | None:
    """The proxy that ``HTTPS_PROXY`` names, unless ``NO_PROXY`` names the host."""
    if url.scheme != "https" or urllib.request.proxy_bypass(url.netloc):
        return None
    return urllib.request.getproxies().get("https")


class RequestFailed(Exception):
    """There was no response. The message is for whoever named the address, and repeats nothing that was sent or
    received.
    """


class Response(NamedTuple):
    """What a server has sent. ``body`` is empty if it was not to be read."""

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
    """Send a request and read its response, whatever its status. A redirect is a response like any other.

    :param url: http or https, without its user information.
    :param networks: where a connection may go.
    :param timeout: seconds for all of it. Resolving the name comes on top.
    :param max_body: bytes that the response's body may have; ``None`` if it is not to be read.
    :param proxy: the http URL of a proxy, through which https requests go. It resolves the name, so *networks* does not
        apply.
    :raises RequestFailed: the address is refused, there was no response in time, or it is too large.
    """
    is_plain = url.scheme == "http"
    try:
        host, port = url.hostname or "", url.port or (80 if is_plain else 443)
    except ValueError:
        raise RequestFailed("the address has a port that is none") from None
    # Named, so that it is the same through a proxy.
    own = {"Host": url.netloc.rpartition("@")[2], "Connection": "close"}
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        addresses: list[str] = []
        if proxy is not None and not is_plain:
            connection = _tunnel(host, port, urlsplit(proxy), timeout)
        else:
            addresses = networks.resolve(host, port, is_plain=is_plain)
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        with contextlib.closing(connection), _deadline(connection, timeout) as apply_deadline:
            if addresses:
                # Not by connect(), which would resolve the name again.
                connection.sock = _connected(addresses, port, timeout)
            else:
                connection.connect()
            apply_deadline()
            if not is_plain:
                _encrypt(connection, host, apply_deadline)
            connection.request(method, target, body, own | dict(headers))
            with connection.getresponse() as response:
                content = b"" if max_body is None else _content(response, max_body)
                return Response(response.status, response.reason, response.getheaders(), content)
    except AddressRefused as refused:
        raise RequestFailed(str(refused)) from None
    except TimeoutError:
        raise RequestFailed(f"no response within {timeout:g} seconds") from None
    except ssl.SSLCertVerificationError as error:
        # Behind the comma is the host, which only those know who may change the target of an alert.
        raise RequestFailed(f"the certificate is refused: {error.verify_message.partition(',')[0]}") from None
    except OSError as error:
        raise RequestFailed(f"no connection: {error.strerror or type(error).__name__}") from None
    except (http.client.HTTPException, ValueError) as error:
        # The message could repeat what was sent, or what an internal service has sent.
        raise RequestFailed(f"no HTTP response: {type(error).__name__}") from None


def _tunnel(host: str, port: int, proxy: SplitResult, timeout: float) -> http.client.HTTPConnection:
    """A connection that will go to the host through a proxy (RFC 9110 section 9.3.6)."""
    connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=timeout)
    credentials = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}".encode()
    authorization = {"Proxy-Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
    connection.set_tunnel(host, port, authorization if proxy.username is not None else {})
    return connection


def _connected(addresses: list[str], port: int, timeout: float) -> socket.socket:
    """Connect to the first address that accepts it, within *timeout* for all of them: a name can have thousands."""
    until, refused = time.monotonic() + timeout, OSError()
    for address in addresses:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return socket.create_connection((address, port), left)
        except OSError as error:
            refused = error
    raise refused


def _encrypt(connection: http.client.HTTPConnection, host: str, apply_deadline: Callable[[], None]) -> None:
    """Continue by TLS: the certificate must be the host's, and of an authority that the system trusts."""
    context = ssl.create_default_context()
    # The handshake is a step of its own, so that the deadline can end it.
    encrypted = context.wrap_socket(connection.sock, server_hostname=host, do_handshake_on_connect=False)
    connection.sock = encrypted
    apply_deadline()
    encrypted.do_handshake()


def _content(response: http.client.HTTPResponse, max_body: int) -> bytes:
    """The body.

    :raises RequestFailed: it is larger than *max_body*.
    """
    content = b""
    while chunk := response.read1(max_body + 1 - len(content)):
        content += chunk
        if len(content) > max_body:
            raise RequestFailed(f"the response has more than {max_body} bytes")
    return content


@contextlib.contextmanager
def _deadline(connection: http.client.HTTPConnection, timeout: float) -> Iterator[Callable[[], None]]:
    """End the connection after *timeout*: a server that sends a byte a second never exceeds the socket's own timeout.

    Yields what must be called whenever the connection has got a socket.

    :raises TimeoutError: it was ended.
    """
    is_over = threading.Event()
    # Not the connection's: it forgets the socket when a response begins that ends with it, and the body still comes.
    sockets: list[socket.socket] = []

    def end() -> None:
        is_over.set()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def check() -> None:
        if is_over.is_set():
            raise TimeoutError

    def apply() -> None:
        sockets.append(connection.sock)
        check()

    timer = threading.Timer(timeout, end)
    timer.daemon = True
    timer.start()
    try:
        yield apply
    except (OSError, http.client.HTTPException):
        if not is_over.is_set():
            raise
    finally:
        timer.cancel()
    # Also if a response was taken for complete, because its headers ended there.
    check()
