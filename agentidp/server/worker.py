"""A gunicorn worker that serves a request in the thread that waits for it.

gunicorn's own threaded worker hands each request from its polling thread to a pool and back. Here the thread that
polls, the leader, serves the request itself, and only a slow request makes another thread the leader, of at most
``threads`` (``leadership.py``). What makes this safe:

- Only the leader touches the poller, the groups of connections and ``nr_conns``. A thread that lost the lead while it
  served touches none of them: it passes its connection back through gunicorn's queue.
- A connection stays in the poller while its leader serves it, because nobody polls then. It is taken out before another
  thread leads, so two threads never have the same connection.
- The leader never waits for a client. What has arrived is kept until a request is complete, up to MAX_HELD bytes. The
  rest of a longer one is read while it is served; each read and write takes at most ``timeout`` seconds. So a client
  that sends slowly, partly or not at all holds no thread. Closing does not wait for the client either.
- gunicorn's parser decides what a request is, and gunicorn's code answers it and its errors.

The main thread never leads. It runs the signal handlers, gives the heartbeat and watches the leader. The heartbeat ends
while one request keeps the lead because all threads are busy, so gunicorn replaces a worker that hangs. Stopping is as
gunicorn's: no new connections; idle ones stay STOP_KEEPALIVE_LINGER seconds, and requests ``graceful_timeout``.
gunicorn's private parts are used in this file only. ``tests/server/test_worker.py`` compares their source with what was
read when this was written, and setup.cfg bounds gunicorn's version.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import time
from collections import deque
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.http.errors import NoMoreData
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import DEFAULT_WORKER_DATA_TIMEOUT, STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from agentidp.server.leadership import Leadership

MAX_HELD = 64 * 1024
"""Bytes of a request's head, and of its body, that are kept until it is complete."""


class _Arrived(SocketUnreader):
    """The bytes of a connection that have arrived. Only a request that is being served may wait for more."""

    may_wait = False

    def chunk(self, size_hint: int | None = None) -> bytes:
        if not self.may_wait:
            raise BlockingIOError
        try:
            return bytes(super().chunk(size_hint))
        except BlockingIOError:
            raise NoMoreData from None

    def receive(self) -> bool:
        """Keep what the client has sent meanwhile; False if it will send no more."""
        try:
            data = self.sock.recv(MAX_HELD, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.buf.seek(0, os.SEEK_END)
        self.buf.write(data)
        return bool(data)


class _Requests(RequestParser):
    """gunicorn's parser, asked by the leader whether a request is complete, and then by gunicorn for the request."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any) -> None:
        super().__init__(cfg, sock, client)
        self.unreader, self._scanned = _Arrived(sock), 0
        self._next: Any = None

    def is_complete(self, *, is_last: bool = False) -> bool:
        """Whether the next request can be served.

        :param is_last: nothing more will arrive, so a part of a body is all there will be. gunicorn refuses it.
        """
        self.unreader.may_wait = False
        if self._next is None:
            held = self.unreader.buf.getvalue()
            if not held:
                return False
            try:
                self._next = super().__next__()
                self._scanned = 0
            except BlockingIOError:
                self.unreader.take_buffered()
                self.unreader.unread(held)
                self.req_count -= 1
                return len(held) >= MAX_HELD
            except Exception as error:  # Whatever it is: the thread that serves answers it.
                self._next = error
        if is_last or isinstance(self._next, Exception) or self._has_body():
            return True
        if self._next._expected_100_continue:
            self._next._expected_100_continue = False
            with contextlib.suppress(OSError):
                self.unreader.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n", socket.MSG_DONTWAIT)
        return False

    def _has_body(self) -> bool:
        """Whether the body is there, or is too long to be kept. It decides when to serve, never what a request is."""
        reader = self._next.body.reader
        if isinstance(reader, LengthReader):
            return not self.unreader.buf.getbuffer().nbytes < reader.length <= MAX_HELD
        held: bytes = self.unreader.buf.getvalue()
        while len(held) < MAX_HELD:
            end = held.find(b"\r\n", self._scanned)
            if end < 0:
                return len(held) - self._scanned > 8190  # gunicorn refuses a longer line.
            try:
                size = int(held[self._scanned : end].partition(b";")[0], 16)
            except ValueError:
                return True
            if size <= 0:
                return held.find(b"\r\n\r\n", end) >= 0
            self._scanned = end + 2 + size + 2
            if held[self._scanned - 2 : self._scanned] not in (b"\r\n", b"\r", b""):
                return True
        return True

    def __next__(self) -> Any:
        self.unreader.may_wait = True
        request, self._next = self._next or super().__next__(), None
        if isinstance(request, Exception):
            raise request
        return request


class _Connection(TConn):
    """A client's connection. Its socket blocks for at most ``timeout`` seconds."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        sock.setblocking(True)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", cfg.timeout, 0))
        self.parser = _Requests(cfg, sock, client)
        self.initialized, self.is_polled, self.drained = True, False, 0


class LeaderWorker(ThreadWorker):
    """See the module."""

    alive: bool
    serving: _Connection

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        super().check_config(cfg, log)
        if cfg.is_ssl or cfg.http2_cleartext != "off" or cfg.protocol != "http":
            raise RuntimeError("this worker speaks HTTP/1.1 without TLS only: put nginx in front, or use gthread")

    def init_process(self) -> None:
        self.leadership = Leadership(self._lead, lambda: self._poll(self.serving, wanted=False), self.cfg.threads)
        # In the order of their timeouts. gunicorn compares the length of the first with its limit.
        self.keepalived_conns: dict[_Connection, None] = {}
        self.receiving: dict[_Connection, None] = {}
        self.closing: dict[_Connection, None] = {}
        self.pipelined: deque[_Connection] = deque()
        self.is_stopping = False
        super().init_process()

    def run(self) -> None:
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self.leadership.start()
        beat, stop_at = 0.0, float("inf")
        while not self.leadership.has_ended and (now := time.monotonic()) < stop_at:
            if now - beat >= 1 and not self.leadership.is_overdue(1):
                self.notify()
                beat = now
            if self.alive and not self.is_parent_alive():
                self.alive = False
            if not self.alive and stop_at == float("inf"):
                stop_at = now + self.cfg.graceful_timeout
                self.method_queue.defer(lambda: None)  # Wakes the leader.
            self.leadership.watch()
        if self.leadership.failure is not None:
            raise self.leadership.failure

    def _lead(self) -> None:
        while self.leadership.leads():
            wait = self._tend()
            for key, _ in self.poller.select(0 if self.pipelined else wait):
                if isinstance(key.data, _Connection):
                    self._read(key.data)
                else:
                    key.data(key.fileobj)
                if not self.leadership.leads():
                    return  # The next leader finds the other events.
            if self.pipelined:
                self._serve(self.pipelined.popleft())

    def _tend(self) -> float:
        """Do what time and signals ask for; return how many seconds may pass until the next time."""
        now = time.monotonic()
        self.set_accept_enabled(self.alive and self.nr_conns < self.worker_connections)
        if not self.alive and not self.is_stopping:
            self.is_stopping = True
            for listener in self.sockets:
                # Nobody else accepts what waits at a socket of our own.
                while self.cfg.reuse_port and self.accept(listener):
                    pass
                listener.close()
            for connection in self.keepalived_conns:
                connection.timeout = min(connection.timeout, now + STOP_KEEPALIVE_LINGER)
        wait = 1.0
        for group in (self.keepalived_conns, self.receiving, self.closing):
            while group:
                connection = next(iter(group))
                if connection.timeout > now:
                    wait = min(wait, connection.timeout - now)
                    break
                self._close(connection)
        if self.is_stopping and self.nr_conns == 0:
            self.leadership.end()
            return 0.0
        return wait

    def accept(self, listener: socket.socket) -> bool:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            sock, client = listener.accept()
            self.nr_conns += 1
            self._await(_Connection(self.cfg, sock, client, listener.getsockname()))
            return True
        return False

    def _await(self, connection: _Connection) -> None:
        """Wait for the client to send a request, or the rest of one that has begun."""
        is_idle = not connection.parser.unreader.buf.getvalue()
        patience = max(self.cfg.keepalive, DEFAULT_WORKER_DATA_TIMEOUT)
        connection.timeout = time.monotonic() + (STOP_KEEPALIVE_LINGER if is_idle and self.is_stopping else patience)
        (self.keepalived_conns if is_idle else self.receiving)[connection] = None
        self._poll(connection)

    def _read(self, connection: _Connection) -> None:
        is_open = connection.parser.unreader.receive()
        if connection in self.closing:
            # Closing with something unread would reset the connection, and the response might be lost.
            connection.drained += len(connection.parser.unreader.take_buffered())
            if not is_open or connection.drained > MAX_HELD:
                self._close(connection)
        elif connection.parser.is_complete(is_last=not is_open):
            self._forget(connection)
            self._serve(connection)
        elif not is_open:
            self._close(connection)
        elif connection in self.keepalived_conns:
            self._forget(connection)
            self._await(connection)

    def _serve(self, connection: _Connection) -> None:
        """Serve a complete request. Afterwards another thread may lead."""
        self.serving = connection
        begin = self.leadership.begin()
        keep = self.handle(connection)
        if self.leadership.finish(begin):
            self._finish(connection, keep)
        else:
            self.method_queue.defer(self._finish, connection, keep)

    def _finish(self, connection: _Connection, keep: bool) -> None:
        if keep and connection.parser.is_complete():
            self._poll(connection, wanted=False)
            self.pipelined.append(connection)
        elif keep:
            self._await(connection)
        elif connection.sock.fileno() < 0:
            self._close(connection)
        else:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_WR)
            connection.timeout = time.monotonic() + STOP_KEEPALIVE_LINGER
            self.closing[connection] = None
            self._poll(connection)

    def _close(self, connection: _Connection) -> None:
        self._poll(connection, wanted=False)
        self._forget(connection)
        self.nr_conns -= 1
        connection.close()

    def _forget(self, connection: _Connection) -> None:
        for group in (self.keepalived_conns, self.receiving, self.closing):
            group.pop(connection, None)

    def _poll(self, connection: _Connection, *, wanted: bool = True) -> None:
        if wanted and not connection.is_polled:
            self.poller.register(connection.sock, selectors.EVENT_READ, connection)
        elif connection.is_polled and not wanted:
            self.poller.unregister(connection.sock)
        connection.is_polled = wanted
