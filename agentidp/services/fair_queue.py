"""A bound on the requests of an organization that a process computes at the same time, so that no organization slows
down another.

A request enters when its organization is verified: after the access token at the API and at MCP, after the session's
cookie at the dashboard. It waits until it may run, and leaves when its response is made and sent. The token endpoint
never enters, so tokens go first.

The rules, for one process:

1. At most :data:`MAX_RUNNING` requests run, of which at most :data:`MAX_RUNNING_PER_ORGANIZATION` are of one
   organization. A request runs while its response is computed, and not while the client receives it.
2. The next request to run is of the organization that runs fewest; of these requests the one that has waited longest.
3. A request that waits or is sent holds a thread. At most :data:`MAX_REQUESTS` are inside, of which at most
   :data:`MAX_REQUESTS_PER_ORGANIZATION` are of one organization. A further one is refused with 429.
4. If all places inside are taken, the first request of an organization displaces the newest waiting request of the
   organization that has most inside.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from agentidp.http.errors import RateLimited

MAX_RUNNING = 3
"""Maximum number of requests that run at the same time. More would only compete for the interpreter."""

MAX_RUNNING_PER_ORGANIZATION = 2
"""Maximum number of running requests per organization: the interpreter works for one, the database for the other."""

MAX_REQUESTS = 36
"""Maximum number of requests inside. gunicorn has eight threads more (deploy/gunicorn.conf.py), for tokens."""

MAX_REQUESTS_PER_ORGANIZATION = 16
"""Maximum number of requests inside per organization."""

MAX_WAIT = 10.0
"""Seconds after which a waiting request is refused."""

SHORT_WAIT = 0.005
"""Seconds that a thread waits before it lets another thread serve: most reads take less than a millisecond."""

SMALL = 65_536
"""Bytes that a client receives soon, or not at all: then :func:`agentidp.server.listening.limit_sending` ends it."""

RETRY_AFTER = 1
"""Seconds that a refused client is asked to wait."""


class Turn:
    """The place of one request in a queue.

    :ivar is_running: whether the request may compute now.
    :ivar has_run: whether its response may have begun, so that it can no longer be refused.
    """

    __slots__ = ("_queue", "_woken", "has_run", "is_running", "organization_id")

    def __init__(self, queue: FairQueue, organization_id: str) -> None:
        self._queue, self.organization_id = queue, organization_id
        self.is_running = self.has_run = False
        self._woken: threading.Lock | None = None

    def pause(self) -> None:
        """Let other requests run while a client receives what was computed."""
        self._queue.stop(self)
        self._queue.before_blocking()

    def resume(self) -> None:
        """Wait until a paused turn may run again, however long that takes: its response has begun."""
        self._queue.start(self, -1)

    def leave(self) -> None:
        """End the turn, whether it runs, waits or is paused."""
        self._queue.leave(self)

    def prepare_to_wait(self) -> None:
        """Make :meth:`wait` block until :meth:`wake`."""
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self, max_wait: float) -> bool:
        """Block until :meth:`wake`, but at most *max_wait* seconds; -1 is without limit.

        :returns: whether the turn was woken.
        """
        assert self._woken is not None  # noqa: S101
        return self._woken.acquire(timeout=max_wait)

    def wake(self) -> None:
        """Let :meth:`wait` return."""
        assert self._woken is not None  # noqa: S101
        self._woken.release()


class FairQueue:
    """The requests of one process, and which of them run.

    :ivar before_blocking: called in a thread that is about to block, so that the server can let another thread serve.
    """

    def __init__(self) -> None:
        self.before_blocking: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._waiting: list[Turn] = []

    def enter(self, organization_id: str, *, max_wait: float = MAX_WAIT) -> Turn:
        """Wait until a request of an organization may run.

        :param max_wait: seconds.
        :returns: the request's turn, which ends by :meth:`Turn.leave`.
        :raises RateLimited: the organization has too many requests inside, or the request waited for too long.
        """
        turn = Turn(self, organization_id)
        with self._lock:
            self._make_room(organization_id)
            self._inside[organization_id] += 1
        if not self.start(turn, max_wait):
            self.leave(turn)
            raise _refusal()
        return turn

    def start(self, turn: Turn, max_wait: float) -> bool:
        """Wait until a turn may run, but at most *max_wait* seconds; -1 is without limit.

        :returns: whether the turn runs.
        """
        with self._lock:
            if self._may_run(turn):
                self._run(turn)
                return True
            turn.prepare_to_wait()
            self._waiting.append(turn)
        if not turn.wait(SHORT_WAIT):
            self.before_blocking()
            turn.wait(max_wait)
        return turn.is_running

    def stop(self, turn: Turn) -> None:
        """End the running or the waiting of a turn."""
        with self._lock:
            self._stop(turn)

    def leave(self, turn: Turn) -> None:
        """Take a turn out of the queue."""
        with self._lock:
            self._stop(turn)
            _decrease(self._inside, turn.organization_id)

    def is_empty(self) -> bool:
        """Tell whether no request is inside."""
        return not self._inside

    def _make_room(self, organization_id: str) -> None:
        inside = self._inside[organization_id]
        if inside >= MAX_REQUESTS_PER_ORGANIZATION:
            raise _refusal()
        if sum(self._inside.values()) < MAX_REQUESTS:
            return
        newest_first = [turn for turn in reversed(self._waiting) if not turn.has_run]
        displaced = max(newest_first, key=lambda turn: self._inside[turn.organization_id], default=None)
        if inside or displaced is None or self._inside[displaced.organization_id] == 1:
            raise _refusal()
        self._waiting.remove(displaced)
        displaced.wake()

    def _may_run(self, turn: Turn) -> bool:
        running = self._running
        return sum(running.values()) < MAX_RUNNING and running[turn.organization_id] < MAX_RUNNING_PER_ORGANIZATION

    def _run(self, turn: Turn) -> None:
        turn.is_running = turn.has_run = True
        self._running[turn.organization_id] += 1

    def _stop(self, turn: Turn) -> None:
        if turn.is_running:
            turn.is_running = False
            _decrease(self._running, turn.organization_id)
            self._start_next()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _start_next(self) -> None:
        candidates = [turn for turn in self._waiting if self._may_run(turn)]
        if candidates:
            # The first of equals, which has waited longest.
            turn = min(candidates, key=lambda turn: self._running[turn.organization_id])
            self._waiting.remove(turn)
            self._run(turn)
            turn.wake()


def _decrease(counts: Counter[str], organization_id: str) -> None:
    """Count one less. An organization without requests is forgotten, so that the counts do not grow."""
    counts[organization_id] -= 1
    if not counts[organization_id]:
        del counts[organization_id]


def _refusal() -> RateLimited:
    return RateLimited(
        "Too many requests of your organization are running at the same time; try again.",
        headers={"Retry-After": str(RETRY_AFTER)},
    )
