"""A gunicorn worker whose threads all poll: the thread that finds a request ready serves it.

It replaces gunicorn's threaded worker (``gthread``), and a token takes 33 % more of Python without it.

gunicorn's own threaded worker polls in one thread, hands each request to a second one, and takes the connection back
when the response is sent. That is two hand-overs a request. Here all threads wait at one epoll: the kernel wakes one of
them for a request, and that thread serves it and puts the connection back.

- A connection that waits for a request is in ``keepalived_conns``. Whoever removes it owns it: a thread if a request
  arrives, the main thread if none arrives in time. So no connection is served twice or closed while it is served.
- With EPOLLONESHOT the kernel reports a connection to one thread, and then to none until it is put back.
- Few threads serve at the same time (SERVING), because more would compete for the interpreter. A thread that is about
  to block, or has been busy for STALLED, lets another thread serve in its place, and then waits until it may serve.
- The kernel wakes the thread that began to wait last. Threads that the load does not need sleep on and cost nothing.
- The main thread serves no request. It accepts connections, closes idle ones and sends gunicorn's heartbeat.
- A new connection waits like a kept-alive one, so a client that connects and sends nothing holds no thread.

gunicorn reads requests, makes responses (``ThreadWorker.handle``) and handles signals. It does some things for each
request that are not needed here, or that cost less here:

- It looks up each setting by two calls, 22 times a request. Here the worker has them as plain attributes.
- It calls its logger and the hooks ``pre_request`` and ``post_request``. Here nothing does, and a configuration with a
  hook gets a warning.
- It waits for the rest of a request before it reads the next one. Here only if there can be one.
- It sends the headers and the body of a response by two calls. Here by one.
- It makes a whole WSGI environment for each request: ``agentidp/fast_path/environments.py``.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn

from agentidp.fast_path.environments import create
from agentidp.http.worker import Worker


class Connection(TConn):
    """A connection that may have ended on this side, and then waits for the client to close."""

    ended = False
    shared: dict[str, Any] | None = None
    """What the WSGI environments of its requests have in common."""

    def has_request(self) -> bool:
        """Whether something has arrived that no thread has served yet, because all were busy."""
        if self.ended:
            return False
        if self.initialized and self.parser.unreader.buf.getvalue():
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))


SERVING = 8
"""Number of threads that serve at the same time while none is blocked."""

STALLED = 0.1
"""Seconds after which the thread of a request counts as blocked."""


class PollingWorker(Worker):
    """The threaded worker without the hand-overs. ``--threads`` counts blocked threads too."""

    alive: bool
    keepalived_conns: dict[int, Connection]
    """The connections that wait for a request, by file descriptor. gunicorn closes further ones if there are many."""

    @classmethod
    def check_config(cls, cfg: Config, log: Any) -> None:
        """Warn about hooks that would never be called."""
        super().check_config(cfg, log)
        for name in ("pre_request", "post_request"):
            if cfg.settings[name].get() is not cfg.settings[name].default:
                log.warning("The hook %s is never called by this worker.", name)

    def init_process(self) -> None:
        """In the new process, before the application is loaded."""
        keep_settings(self.cfg)
        self.keepalived_conns = {}
        self._ready = select.epoll()
        self._lock = threading.Lock()
        self._may_serve = threading.Semaphore(min(SERVING, self.cfg.threads))
        self._busy_since: dict[int, float | None] = {}
        self._gave_way: set[int] = set()
        super().init_process()

    def run(self) -> None:
        """Serve until gunicorn says to stop, and then end what is under way."""
        for number in range(self.cfg.threads):
            threading.Thread(target=self._serve, name=f"serve-{number}", daemon=True).start()
        self.poller.register(self.method_queue.fileno(), select.EPOLLIN, self.method_queue.run_callbacks)
        while self.alive and self.is_parent_alive():
            # Under the lock: a thread that closes a connection afterwards sees that it must wake this one.
            with self._lock:
                self.set_accept_enabled(self.nr_conns < self.worker_connections)
            self._wait_in_main_thread()
        self.alive = False
        self.set_accept_enabled(False)
        with self._lock:
            for connection in self.keepalived_conns.values():
                connection.timeout = min(connection.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        end = time.monotonic() + self.cfg.graceful_timeout
        while self.nr_conns and time.monotonic() < end:
            self._wait_in_main_thread()
        self._close_idle(lambda _: True)

    def accept(self, listener: Any) -> None:
        """Let a new connection wait for its first request."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection = Connection(self.cfg, client, address, listener.getsockname())
        with self._lock:
            self.nr_conns += 1
        self._let_wait(connection, self._ready.register, self.cfg.keepalive)

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Serve a request. Whether another may follow.

        As gunicorn's, without its hooks, its access log, its clock and ``sendfile``: a file is sent in parts.
        """
        response, environ = create(req, conn, self.cfg)
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        if not self.alive or not self.cfg.keepalive or len(self.keepalived_conns) >= self.max_keepalived:
            response.force_close()
        try:
            body = self.wsgi(environ, response.start_response)
            try:
                _send(response, body)
            finally:
                if hasattr(body, "close"):
                    body.close()
        except OSError:
            raise
        except (Exception, SystemExit):
            if not response.headers_sent:
                # gunicorn responds with a 500.
                raise
            self.log.exception("Error handling request")
            util.close_graceful(conn.sock)
            raise StopIteration from None
        return not response.should_close()

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        if keepalive and _is_read(conn.parser.mesg.body):
            # gunicorn would set the socket's time limit twice to find that out, and again before the next request.
            conn.parser.mesg = None
            return True
        return bool(super()._keepalive_after(conn, keepalive))

    def _let_wait(
        self,
        connection: Connection,
        watch: Callable[[int, int], None],
        seconds: float | None = None,
        events: int = select.EPOLLIN,
    ) -> None:
        """Put a connection back. Without ``seconds``, it waits until the same instant as before.

        All under the lock, so that the main thread neither closes a connection that is not watched yet, nor stops
        between the look at ``alive`` and the end of this.
        """
        descriptor = connection.sock.fileno()
        with self._lock:
            if seconds is not None:
                most = self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER
                connection.timeout = time.monotonic() + min(seconds, most)
            watch(descriptor, events | select.EPOLLONESHOT)
            self.keepalived_conns[descriptor] = connection

    def _serve(self) -> None:
        thread = threading.get_ident()
        while True:
            self._may_serve.acquire()
            self._gave_way.discard(thread)
            while thread not in self._gave_way:
                for descriptor, _ in self._ready.poll(None, 1):
                    self._busy_since[thread] = time.monotonic()
                    self._serve_connection(descriptor)
                    self._busy_since[thread] = None

    def give_way(self, thread: int | None = None) -> None:
        """Let another thread serve in place of a blocked one.

        :param thread: the blocked one; ``None`` is the calling thread.
        """
        thread = thread or threading.get_ident()
        with self._lock:
            if thread in self._gave_way or thread not in self._busy_since:
                return
            self._gave_way.add(thread)
        self._may_serve.release()

    def _serve_connection(self, descriptor: int) -> None:
        with self._lock:
            connection = self.keepalived_conns.pop(descriptor, None)
        if connection is not None:
            try:
                self._serve_once(connection)
            except OSError:
                # The connection is closed already, for example by gunicorn if a response ended in the middle.
                self._close(connection)
            except BaseException:
                self.log.exception("Error handling request")
                self._close(connection)

    def _serve_once(self, connection: Connection) -> None:
        if connection.ended:
            if connection.sock.recv(65536, socket.MSG_DONTWAIT):
                self._let_wait(connection, self._ready.modify)
            else:
                self._close(connection)
        elif not self.handle(connection):
            # The client gets the rest of the response only if nothing it sent is unread when the connection is closed
            # (RFC 9112, section 9.6). So it may close first, and holds no thread meanwhile.
            connection.sock.shutdown(socket.SHUT_WR)
            connection.ended = True
            self._let_wait(connection, self._ready.modify, STOP_KEEPALIVE_LINGER)
        elif connection.initialized and connection.parser.unreader.buf.getvalue():
            # The client did not wait for the response, and its next request is read already. It is served when the
            # client can receive, after the requests of others.
            self._let_wait(connection, self._ready.modify, self.cfg.keepalive, select.EPOLLIN | select.EPOLLOUT)
        else:
            self._let_wait(connection, self._ready.modify, self.cfg.keepalive)

    def _close(self, connection: Connection) -> None:
        connection.close()
        with self._lock:
            self.nr_conns -= 1
        if not self._accepting:
            # The main thread waits for a place, or for the last connection.
            self.method_queue.defer(lambda: None)

    def _wait_in_main_thread(self) -> None:
        self.notify()
        self.wait_for_and_dispatch_events(timeout=STALLED)
        now = time.monotonic()
        for thread, since in list(self._busy_since.items()):
            if since is not None and since <= now - STALLED:
                self.give_way(thread)
        self._close_idle(lambda connection: connection.timeout <= now and not connection.has_request())

    def _close_idle(self, is_over: Callable[[Connection], bool]) -> None:
        with self._lock:
            ended = [each for each in self.keepalived_conns.items() if is_over(each[1])]
            for descriptor, _ in ended:
                del self.keepalived_conns[descriptor]
            self.nr_conns -= len(ended)
        for _, connection in ended:
            connection.close()


def _send(response: Any, body: Iterable[bytes]) -> None:
    """Send a response, its headers and its body at once if the body is made. gunicorn sends the headers first, and each
    call that sends hands the interpreter to another thread and back.

    :param response: gunicorn's, which has the status and the headers.
    """
    if type(body) is list and len(body) == 1 and len(body[0]) == response.response_length:
        lines = response.default_headers() + [f"{name}: {value}\r\n" for name, value in response.headers]
        response.headers_sent = True
        response.sent = response.response_length
        response.sock.sendall("".join([*lines, "\r\n"]).encode("latin-1") + body[0])
        return
    for part in body:
        response.write(part)
    response.close()


def _is_read(body: Any) -> bool:
    """Whether nothing of a request's body is left on the connection."""
    return getattr(body.reader, "length", None) == 0 and not body.buf.getbuffer().nbytes


def keep_settings(cfg: Config) -> None:
    """Make attributes of gunicorn's settings, which it otherwise looks up by a function at each use."""
    found = {name: setting.get() for name, setting in cfg.settings.items() if not hasattr(Config, name)}
    vars(cfg).update(found)
