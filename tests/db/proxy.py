"""A proxy in front of PostgreSQL that loses answers, as a network may do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict


class Proxy:
    """Forwards data on a TCP port until it is stopped."""

    def __init__(self, database_url: str) -> None:
        parts = conninfo_to_dict(database_url)
        self._directory, self._database_port = str(parts["host"]), str(parts.get("port", 5432))
        login = f"{quote(str(parts['user']))}:{quote(str(parts.get('password', '')))}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"postgresql://{login}@127.0.0.1:{self.port}/{parts['dbname']}"
        self.loses_answers = False
        """Throw away what the server sends, and leave the connections open."""
        self._lock = threading.Lock()
        self._is_closed = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections to the client and to the server."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all connections and stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        with self._lock:
            self._is_closed = True
            for end in self._sockets:
                end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = self._reach()
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    if self._is_closed:
                        client.close()
                        server.close()
                        return
                    self._sockets += [client, server]
                for source, target, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=(source, target, is_answer), daemon=True).start()

    def _reach(self) -> socket.socket:
        if not self._directory.startswith("/"):
            return socket.create_connection((self._directory, int(self._database_port)))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"{self._directory}/.s.PGSQL.{self._database_port}")
        except OSError:
            server.close()
            raise
        return server

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not (is_answer and self.loses_answers):
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxied(database_url: str) -> Iterator[Proxy]:
    """Run a proxy in front of *database_url*."""
    proxy = Proxy(database_url)
    try:
        yield proxy
    finally:
        proxy.close()
