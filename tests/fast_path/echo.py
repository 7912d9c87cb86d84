"""gunicorn as a process that serves the application that echoes requests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading

from tests.factories import PATIENCE, ROOT, children, free_port, wait_until


class Gunicorn:
    """A gunicorn process with one worker and the application in ``echo_app.py``."""

    def __init__(
        self,
        *arguments: str,
        worker: str = "agentidp.fast_path.worker.PollingWorker",
        threads: int = 4,
        keepalive: int = 60,
    ) -> None:
        self.port = free_port()
        self.command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{self.port}"]
        self.command += ["--worker-class", worker, "--threads", str(threads), "--keep-alive", str(keepalive)]
        self.command += [*arguments, "tests.fast_path.echo_app:app"]
        self.log = ""

    def __enter__(self) -> Gunicorn:
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            wait_until(self.responds)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers():
            # A worker that is stopping may end first.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line

    def responds(self) -> bool:
        """Return whether a worker responds."""
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError):
            return self.get("/").startswith(b"HTTP/1.1 200")
        return False

    def workers(self) -> list[int]:
        """Return the process IDs of the workers."""
        return children(self.process.pid, "gunicorn")

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def get(self, target: str) -> bytes:
        """Send a request on a new connection, and return the response."""
        with self.connect() as client:
            client.sendall(get(target, close=True))
            return everything(client)


def get(target: str, *, close: bool = False) -> bytes:
    """Return a request."""
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n{'Connection: close' if close else 'A: b'}\r\n\r\n".encode()


def everything(client: socket.socket) -> bytes:
    """Receive data until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return received


def responses(client: socket.socket, number: int) -> list[bytes]:
    """Receive *number* responses, and return their bodies in order."""
    bodies, received = [], b""
    while len(bodies) < number:
        head, separator, rest = received.partition(b"\r\n\r\n")
        if separator and (length := re.search(rb"Content-Length: (\d+)", head)) and len(rest) >= int(length[1]):
            bodies.append(rest[: int(length[1])])
            received = rest[int(length[1]) :]
            continue
        data = client.recv(65536)
        assert data, f"closed after {len(bodies)} responses: {received!r}"
        received += data
    assert received == b""
    return bodies
