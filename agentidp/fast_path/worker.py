"""A gunicorn worker in which every thread polls for requests and serves the request that it finds.

gunicorn's threaded worker (``gthread``) polls in one thread, hands each request to a second thread, and takes the
connection back after the response: two hand-overs per request. Here all threads wait at the same epoll. For a request,
the kernel wakes one of them, which serves the request and puts the connection back.

- A connection that waits for a request is in ``keepalived_conns``. The thread that removes the connection owns it: the
  main thread if no request arrives in time, and otherwise the thread that serves the request. So no connection is
  served twice, or closed while it is served.
- With EPOLLONESHOT, the kernel reports a connection to only one thread, until the connection is put back.
- Only SERVING threads serve at once, because more would compete for the interpreter. A thread that is about to block,
  or has been busy for STALLED seconds, lets another thread serve in its place, and then waits until it may serve again.
- The kernel wakes the thread that began to wait last. Threads that are not needed continue to sleep and cost nothing.
- The main thread serves no requests. It accepts connections, closes idle connections and sends gunicorn's heartbeat.
- A new connection waits like a kept-alive connection, so a client that connects and sends nothing holds no thread.

gunicorn reads requests, calls the application (``ThreadWorker.handle``) and handles signals. Some of its work per
request is omitted here or costs less:

- gunicorn looks up settings 22 times per request, with two calls each. Here they are plain attributes.
- gunicorn calls its logger and the hooks ``pre_request`` and ``post_request``. Here they are not called, and a
  configuration with a hook causes a warning.
- gunicorn waits for the rest of each request before it reads the next. Here this is done only if there can be a rest.
- gunicorn sends the headers and the body of a response with two calls. Here one call sends both.
- gunicorn creates a whole WSGI environment for each request. See ``agentidp/fast_path/environments.py``.
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
    """A client's connection. ``ended`` means that this side has closed it and waits for the client to do so."""

    ended = False
    shared: dict[str, Any] | None = None
    """The variables that the WSGI environments of the connection's requests share."""

    def has_request(self) -> bool:
        """Return whether data has arrived that no thread has served yet, because all threads were busy."""
        if self.ended:
            return False
        if self.initialized and self.parser.unreader.buf.getvalue():
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))


SERVING = 8
"""Maximum number of threads that serve at once, not counting blocked threads."""

STALLED = 0.1
"""Seconds after which a thread that serves a request counts as blocked."""


class PollingWorker(Worker):
    """The threaded worker without hand-overs. ``--threads`` is the number of all threads, including blocked threads."""

    alive: bool
    keepalived_conns: dict[int, Connection]
    """The connections that wait for a request, by file descriptor. If there are too many, others are not kept alive."""

    @classmethod
    def check_config(cls, cfg: Config, log: Any) -> None:
        """Warn about configured hooks that are never called."""
        super().check_config(cfg, log)
        for name in ("pre_request", "post_request"):
            if cfg.settings[name].get() is not cfg.settings[name].default:
                log.warning("The hook %s is never called by this worker.", name)

    def init_process(self) -> None:
        """Prepare the new process, before the application is loaded."""
        keep_settings(self.cfg)
        self.keepalived_conns = {}
        self._ready = select.epoll()
        self._lock = threading.Lock()
        self._may_serve = threading.Semaphore(min(SERVING, self.cfg.threads))
        self._busy_since: dict[int, float | None] = {}
        self._gave_way: set[int] = set()
        super().init_process()

    def run(self) -> None:
        """Serve until gunicorn stops the worker, and then complete the requests in progress."""
        for number in range(self.cfg.threads):
            threading.Thread(target=self._serve, name=f"serve-{number}", daemon=True).start()
        self.poller.register(self.method_queue.fileno(), select.EPOLLIN, self.method_queue.run_callbacks)
        while self.alive and self.is_parent_alive():
            # With the lock, a thread that closes a connection after this notices that it must wake the main thread.
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
        """Serve a request, and return whether another may follow on the connection.

        This is gunicorn's method without hooks, access log, clock and ``sendfile``. Files are sent in parts.
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
                # gunicorn responds with 500.
                raise
            self.log.exception("Error handling request")
            util.close_graceful(conn.sock)
            raise StopIteration from None
        return not response.should_close()

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        if keepalive and _is_read(conn.parser.mesg.body):
            # To find this out, gunicorn would set the socket's timeout twice, and once more before the next request.
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
        """Put a connection back, so that it waits for events. Without *seconds*, it keeps its previous deadline.

        The lock prevents the main thread from closing a connection that is not watched yet, and from stopping between
        the check of ``alive`` and the end of this method.
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
        """Let another thread serve in place of *thread*, which is blocked. Default: the calling thread."""
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
                # The connection is already closed, for example by gunicorn after an incomplete response.
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
            # If the connection were closed while data of the client is unread, the client might lose the end of the
            # response (RFC 9112 section 9.6). So the client closes first. Until then, it holds no thread.
            connection.sock.shutdown(socket.SHUT_WR)
            connection.ended = True
            self._let_wait(connection, self._ready.modify, STOP_KEEPALIVE_LINGER)
        elif connection.initialized and connection.parser.unreader.buf.getvalue():
            # The next request was sent without waiting for the response, and is already read. It is served when the
            # client can receive, after the requests of other clients.
            self._let_wait(connection, self._ready.modify, self.cfg.keepalive, select.EPOLLIN | select.EPOLLOUT)
        else:
            self._let_wait(connection, self._ready.modify, self.cfg.keepalive)

    def _close(self, connection: Connection) -> None:
        connection.close()
        with self._lock:
            self.nr_conns -= 1
        if not self._accepting:
            # Wakes the main thread, which waits until it may accept a connection or until the last connection ends.
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
    """Send a response, with its headers and body in one call if the body is complete.

    gunicorn sends the headers first, but each call that sends gives the interpreter to another thread and back.
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
    return getattr(body.reader, "length", None) == 0 and not body.buf.getbuffer().nbytes


def keep_settings(cfg: Config) -> None:
    """Store gunicorn's settings as attributes, because gunicorn would call a function at each use of a setting."""
    found = {name: setting.get() for name, setting in cfg.settings.items() if not hasattr(Config, name)}
    vars(cfg).update(found)
