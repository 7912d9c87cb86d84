"""Runs an HTTPS server for outbound requests."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from tests.factories import PATIENCE


@contextlib.contextmanager
def server(speak: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Yield the port of a server that accepts a single connection and calls *speak* with it."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            accepted, _ = listener.accept()
            with accepted, context.wrap_socket(accepted, server_side=True) if context else accepted as connection:
                speak(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(PATIENCE)


def responding(response: bytes, heard: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    """Return a function that reads the head of a request, appends it to *heard*, and sends *response*."""

    def speak(connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received and (data := connection.recv(65_536)):
            received += data
        if heard is not None:
            heard.append(received)
        connection.sendall(response)

    return speak
