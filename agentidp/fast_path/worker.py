"""A gunicorn worker in which every thread polls for requests, and serves the request for which the kernel wakes it.

gunicorn's threaded worker (``gthread``) polls in one thread and serves in others, so each request is handed over twice.
Here all threads wait at the same epoll. For a request, the kernel wakes one thread, which serves the request and puts
the connection back.

- A connection that waits for a request is in ``keepalived_conns``. Only the thread that has removed the connection from
  there serves or closes it, so no connection is served twice, or closed while it is served.
- With EPOLLONESHOT, the kernel reports a connection to only one thread, until the connection is put back.
- Only MAX_SERVING threads serve at once, because more would compete for the interpreter. A thread that is about to
  block, or has served one request for SECONDS_UNTIL_BLOCKED, lets another thread serve in its place:
  give_way() adds the blocked thread to ``_gave_way`` and releases the semaphore ``_may_serve``, which the blocked
  thread acquires again after its request. So at most MAX_SERVING threads serve, plus those in ``_gave_way``.
- The main thread serves no requests. It accepts connections, closes idle connections and sends gunicorn's heartbeat.
- A new connection waits like a kept-alive connection, so a client that connects and sends nothing holds no thread.

gunicorn still reads requests, calls the application (``ThreadWorker.handle``) and handles signals. Its access log and
hooks ``pre_request`` and ``post_request`` are omitted.
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

from agentidp.fast_path.environments import create_environment
from agentidp.http.worker import Worker

MAX_SERVING = 8
"""Maximum number of threads that serve at once, not counting blocked threads (see ``services/fair_queue.py``)."""

SECONDS_UNTIL_BLOCKED = 0.1
"""Seconds after which a thread that still serves the same request counts as blocked."""


class Connection(TConn):
    """A client's connection and its state in a :class:`PollingWorker`."""

    is_watched = False
    """Whether the connection is registered with epoll, so that the next wait only changes the registration."""

    is_ended = False
    """Whether the worker has sent the last response and waits until the client closes the connection."""

    shared_environ: dict[str, Any] | None = None
    """The variables of the WSGI environment that all requests of the connection share."""

    def has_read_ahead(self) -> bool:
        """Return whether a part of the next request was already read, together with the end of the last request."""
        return bool(self.initialized and self.parser.unreader.buf.getvalue())

    def has_request(self) -> bool:
        """Return whether the client has sent a request that waits because all threads are busy."""
        if self.is_ended:
            return False
        if self.has_read_ahead():
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))


class PollingWorker(Worker):
    """A gunicorn worker whose threads wait for requests themselves. ``--threads`` is the number of these threads.

    gunicorn calls ``check_config``, ``init_process``, ``run``, ``accept``, ``handle_request`` and ``_keepalive_after``.
    This class uses these undocumented parts of gunicorn:

    - of its ``ThreadWorker``: ``keepalived_conns``, ``max_keepalived``, ``nr_conns``, ``worker_connections``,
      ``_accepting``, ``method_queue``, ``poller``, ``set_accept_enabled()``, ``is_parent_alive()`` and
      ``wait_for_and_dispatch_events()``;
    - of ``TConn``: ``timeout``, ``initialized``, ``parser.mesg`` and ``parser.unreader``;
    - of its ``Response``: ``headers_sent``, ``sent``, ``response_length`` and ``default_headers()``.
    """

    alive: bool
    keepalived_conns: dict[int, Connection]
    """The connections that wait for a request, by file descriptor. gunicorn's settings limit their number."""

    @classmethod
    def check_config(cls, cfg: Config, log: Any) -> None:
        """Warn about hooks in gunicorn's configuration that this worker never calls."""
        super().check_config(cfg, log)
        for name in ("pre_request", "post_request"):
            if cfg.settings[name].get() is not cfg.settings[name].default:
                log.warning("The hook %s is never called by this worker.", name)

    def init_process(self) -> None:
        """Prepare a new worker process, before it loads the application."""
        cache_settings(self.cfg)
        self.keepalived_conns = {}
        self._epoll = select.epoll()
        # This lock protects keepalived_conns, nr_conns and give_way(), which must release the semaphore _may_serve only
        # once for a blocked thread.
        self._lock = threading.Lock()
        self._may_serve = threading.Semaphore(min(MAX_SERVING, self.cfg.threads))
        # The monotonic time, by thread id, at which a thread began its request; None while it serves no request.
        self._busy_since: dict[int, float | None] = {}
        # The ids of blocked threads. Another thread serves in place of each blocked thread.
        self._gave_way: set[int] = set()
        super().init_process()

    def run(self) -> None:
        """Serve requests until gunicorn stops the worker, and then complete the requests in progress."""
        for thread_number in range(self.cfg.threads):
            threading.Thread(target=self._serve_connections, name=f"serve-{thread_number}", daemon=True).start()
        self.poller.register(self.method_queue.fileno(), select.EPOLLIN, self.method_queue.run_callbacks)
        while self.alive and self.is_parent_alive():
            # _close() decreases nr_conns under the same lock, and then wakes this thread if the worker accepts no
            # connections. So this thread does not miss a connection that closes after the comparison.
            with self._lock:
                self.set_accept_enabled(self.nr_conns < self.worker_connections)
            self._wait_in_main_thread()
        self.alive = False
        self.set_accept_enabled(False)
        with self._lock:
            for connection in self.keepalived_conns.values():
                connection.timeout = min(connection.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while self.nr_conns and time.monotonic() < deadline:
            self._wait_in_main_thread()
        self._close_connections(lambda _: True)

    def accept(self, listener: Any) -> None:
        """Accept a new connection, which then waits for its first request."""
        try:
            client_socket, client_address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection = Connection(self.cfg, client_socket, client_address, listener.getsockname())
        with self._lock:
            self.nr_conns += 1
        self._await_events(connection, self.cfg.keepalive)

    def _await_events(self, connection: Connection, seconds: float | None, events: int = select.EPOLLIN) -> None:
        """Let a connection wait for events, at most *seconds*. None keeps the connection's previous deadline."""
        descriptor = connection.sock.fileno()
        watch_connection = self._epoll.modify if connection.is_watched else self._epoll.register
        # The lock ensures that the thread that epoll wakes finds the connection in keepalived_conns, and that the main
        # thread neither closes the connection nor misses its new deadline.
        with self._lock:
            if seconds is not None:
                max_idle_seconds = self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER
                connection.timeout = time.monotonic() + min(seconds, max_idle_seconds)
            connection.is_watched = True
            watch_connection(descriptor, events | select.EPOLLONESHOT)
            self.keepalived_conns[descriptor] = connection

    def _serve_connections(self) -> None:
        """Serve the connections that epoll reports, but only while fewer than ``MAX_SERVING`` other threads serve."""
        thread_id = threading.get_ident()
        while True:
            self._may_serve.acquire()
            self._gave_way.discard(thread_id)
            # The loop ends after give_way() let another thread serve in place of this thread.
            while thread_id not in self._gave_way:
                for descriptor, _ in self._epoll.poll(None, 1):
                    self._busy_since[thread_id] = time.monotonic()
                    self._take_and_serve(descriptor)
                    self._busy_since[thread_id] = None

    def give_way(self, thread_id: int | None = None) -> None:
        """Let another thread serve in place of *thread_id*, which blocks. Default: the calling thread."""
        thread_id = thread_id or threading.get_ident()
        with self._lock:
            if thread_id in self._gave_way or thread_id not in self._busy_since:
                return
            self._gave_way.add(thread_id)
        self._may_serve.release()

    def _take_and_serve(self, descriptor: int) -> None:
        with self._lock:
            connection = self.keepalived_conns.pop(descriptor, None)
        if connection is None:
            # The main thread has just removed and closed the connection.
            return
        try:
            if connection.is_ended:
                self._continue_ending(connection)
            else:
                self._serve_request(connection)
        except OSError:
            # gunicorn has closed the socket, for example after an incomplete response, but nr_conns still includes it.
            self._close(connection)
        except BaseException:
            self.log.exception("Error handling request")
            self._close(connection)

    def _continue_ending(self, connection: Connection) -> None:
        """Discard data that arrives after the last response, until the client closes the connection."""
        if connection.sock.recv(65536, socket.MSG_DONTWAIT):
            self._await_events(connection, None)
        else:
            self._close(connection)

    def _serve_request(self, connection: Connection) -> None:
        if not self.handle(connection):
            # Closing a connection with unread data could destroy the end of the response (RFC 9112 section 9.6). So the
            # connection waits, without occupying a thread, until the client closes it.
            connection.sock.shutdown(socket.SHUT_WR)
            connection.is_ended = True
            self._await_events(connection, STOP_KEEPALIVE_LINGER)
        elif connection.has_read_ahead():
            # EPOLLOUT reports the connection at once. EPOLLIN might never, because the next request was already read.
            self._await_events(connection, self.cfg.keepalive, select.EPOLLIN | select.EPOLLOUT)
        else:
            self._await_events(connection, self.cfg.keepalive)

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Call the application and send its response. Return whether the connection can have another request."""
        response, environ = create_environment(req, conn, self.cfg)
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        if not self.alive or not self.cfg.keepalive or len(self.keepalived_conns) >= self.max_keepalived:
            response.force_close()
        try:
            body = self.wsgi(environ, response.start_response)
            try:
                _send_response(response, body)
            finally:
                if hasattr(body, "close"):
                    body.close()
        except OSError:
            raise
        except (Exception, SystemExit):
            if not response.headers_sent:
                # gunicorn's handle(), which has called this method, responds with 500.
                raise
            self.log.exception("Error handling request")
            util.close_graceful(conn.sock)
            # gunicorn's handle() catches this exception and sends nothing more.
            raise StopIteration from None
        return not response.should_close()

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Discard the unread rest of a request, and return whether another request may follow. gunicorn calls this.

        gunicorn's own method sets the socket's timeout three times, even if the request was read to its end.
        """
        body = conn.parser.mesg.body
        if keepalive and getattr(body.reader, "length", None) == 0 and not body.buf.getbuffer().nbytes:
            conn.parser.mesg = None
            return True
        return bool(super()._keepalive_after(conn, keepalive))

    def _close(self, connection: Connection) -> None:
        connection.close()
        with self._lock:
            self.nr_conns -= 1
        if not self._accepting:
            # This call wakes the main thread, which is waiting until a connection closes.
            self.method_queue.defer(lambda: None)

    def _wait_in_main_thread(self) -> None:
        self.notify()
        self.wait_for_and_dispatch_events(timeout=SECONDS_UNTIL_BLOCKED)
        now = time.monotonic()
        # This loop reads _busy_since without the lock, so a thread may give way just after its request has ended. This
        # is harmless, because the thread acquires the semaphore again after its next request.
        for thread_id, busy_since in list(self._busy_since.items()):
            if busy_since is not None and busy_since <= now - SECONDS_UNTIL_BLOCKED:
                self.give_way(thread_id)
        self._close_connections(lambda connection: connection.timeout <= now and not connection.has_request())

    def _close_connections(self, must_close: Callable[[Connection], bool]) -> None:
        with self._lock:
            connections = [connection for connection in self.keepalived_conns.values() if must_close(connection)]
            for connection in connections:
                del self.keepalived_conns[connection.sock.fileno()]
            self.nr_conns -= len(connections)
        for connection in connections:
            connection.close()


def _send_response(response: Any, body: Iterable[bytes]) -> None:
    """Send a response, in one system call if the body is a list with one string of bytes (see ``send_response``).

    gunicorn sends headers and body separately, and each system call passes the interpreter to another thread and back.
    """
    if type(body) is list and len(body) == 1 and len(body[0]) == response.response_length:
        header_lines = response.default_headers() + [
            f"{header_name}: {header_value}\r\n" for header_name, header_value in response.headers
        ]
        response.headers_sent = True
        response.sent = response.response_length
        response.sock.sendall("".join([*header_lines, "\r\n"]).encode("latin-1") + body[0])
        return
    for chunk in body:
        response.write(chunk)
    response.close()


def cache_settings(cfg: Config) -> None:
    """Store gunicorn's settings as plain attributes. gunicorn itself calls a function at each use of a setting."""
    for setting_name, setting in cfg.settings.items():
        if not hasattr(Config, setting_name):
            # vars() is used, because Config refuses setattr() for the name of a setting.
            vars(cfg)[setting_name] = setting.get()
