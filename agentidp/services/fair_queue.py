"""Limits the requests that a process runs at once per organization, so that no organization slows down another.

A request enters the queue in ``caller.wait_for_turn``, when a token, a session or a sign-in has proved its
organization. It waits until it may run, and leaves the queue when its response is sent. Requests to the token endpoint
never enter the queue, so they take precedence.

The turn of a request in the queue has one of three states:

- *waiting*: until the request may run, at most :data:`MAX_WAIT` seconds;
- *running*: while the response is computed. ``caller`` ends the turn of a small response, and ``server/sending.py`` all
  other turns;
- *paused*: in ``authorization/client_documents.py`` while an app's document is read, and in ``server/sending.py`` while
  a large or streamed response is sent. A turn that resumes waits again, without a time limit.

The limits of one process:

| limit                                 |    | maximum number of                                                 |
|---------------------------------------|----|-------------------------------------------------------------------|
| ``MAX_RUNNING``                       |  5 | running requests, so that tokens find free database connections   |
| ``MAX_RUNNING_TOGETHER``              |  3 | running requests, from which on rule 1 applies                    |
| ``MAX_RUNNING_PER_ORGANIZATION``      |  2 | running requests per organization, so that one can compute while  |
|                                       |    | another waits for the database                                    |
| ``MAX_REQUESTS``                      | 36 | requests in the queue, because each occupies a thread             |
| ``MAX_REQUESTS_PER_ORGANIZATION``     | 16 | requests in the queue per organization                            |
| ``threads``, deploy/gunicorn.conf.py  | 44 | threads: ``MAX_REQUESTS``, and 8 that are always left for tokens  |
| ``MAX_SERVING``, fast_path/worker.py  |  8 | threads that serve at once on the fast path, unless they block    |

The rules:

1. If ``MAX_RUNNING_TOGETHER`` requests run, only an organization without a running request may start another.
2. The next request to run is the oldest waiting request of the organization with the fewest running requests.
3. A request that would exceed the limits of requests in the queue is refused with 429.
4. If the queue is full, a request of an organization that has none in the queue displaces the newest waiting request of
   the organization with the most requests in the queue.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from agentidp.http.errors import RateLimited

# The first lines of this module explain these five limits.
MAX_RUNNING = 5
MAX_RUNNING_TOGETHER = 3
MAX_RUNNING_PER_ORGANIZATION = 2
MAX_REQUESTS = 36
MAX_REQUESTS_PER_ORGANIZATION = 16

MAX_WAIT = 10.0
"""Maximum seconds that a request waits before it is refused."""

SHORT_WAIT = 0.005
"""Seconds for which a thread waits for a turn before it lets another thread serve in its place."""

SMALL = 65_536
"""Maximum bytes of a small response, whose turn ends before the response is sent."""

RETRY_AFTER = 1
"""Value of ``Retry-After`` in seconds for a refused request."""


class Turn:
    """The turn of one request in the fair queue.

    :ivar has_run: whether the request has run, so that it can no longer be refused.
    :ivar wake_lock: the lock for which the turn's thread waits until the turn runs or is refused.
    """

    __slots__ = ("_queue", "has_run", "is_running", "organization_id", "wake_lock")
    wake_lock: threading.Lock

    def __init__(self, queue: FairQueue, organization_id: str) -> None:
        self._queue, self.organization_id = queue, organization_id
        self.is_running = self.has_run = False

    def pause(self) -> None:
        """Let other requests run while this request waits for the network."""
        self._queue.stop(self)
        self._queue.before_blocking()

    def resume(self) -> None:
        """Wait without a time limit until a paused turn may run again."""
        self._queue.start(self, max_wait=-1)

    def leave(self) -> None:
        """Remove the turn from the queue, whether it runs, waits or is paused."""
        self._queue.leave(self)


class FairQueue:
    """The requests of one process that run, wait or are paused.

    :ivar before_blocking: called by a thread that is about to block, to let another thread serve in its place. Set in
        ``deploy/gunicorn.conf.py``.
    """

    def __init__(self) -> None:
        self.before_blocking: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._waiting: list[Turn] = []

    def enter(self, organization_id: str, *, max_wait: float = MAX_WAIT) -> Turn:
        """Wait until a request of an organization may run.

        :returns: the request's turn, which :meth:`Turn.leave` ends.
        :raises RateLimited: the organization has too many requests in the queue, or the request waited for too long.
        """
        turn = Turn(self, organization_id)
        with self._lock:
            self._make_room(organization_id)
            self._inside[organization_id] += 1
        if not self.start(turn, max_wait):
            self.leave(turn)
            raise _build_refusal()
        return turn

    def start(self, turn: Turn, max_wait: float) -> bool:
        """Wait at most *max_wait* seconds (-1: no limit) until a turn may run. Return whether it runs."""
        with self._lock:
            if self._may_run(turn):
                self._run(turn)
                return True
            # The thread waits for a lock, because a lock wakes a thread faster than a threading.Event.
            turn.wake_lock = threading.Lock()
            turn.wake_lock.acquire()
            self._waiting.append(turn)
        if not turn.wake_lock.acquire(timeout=SHORT_WAIT):
            self.before_blocking()
            turn.wake_lock.acquire(timeout=max_wait)
        return turn.is_running

    def stop(self, turn: Turn) -> None:
        """Pause a turn: it neither runs nor waits, but stays in the queue."""
        with self._lock:
            self._stop(turn)

    def leave(self, turn: Turn) -> None:
        """Remove a turn from the queue."""
        with self._lock:
            self._stop(turn)
            _decrease(self._inside, turn.organization_id)

    def is_empty(self) -> bool:
        """Return whether no request is running, waiting or paused."""
        return not self._inside

    def _make_room(self, organization_id: str) -> None:
        """Make room in the queue, possibly by displacing another organization's request, or raise ``RateLimited``."""
        own_request_count = self._inside[organization_id]
        if own_request_count >= MAX_REQUESTS_PER_ORGANIZATION:
            raise _build_refusal()
        if sum(self._inside.values()) < MAX_REQUESTS:
            return
        refusable_turns = [turn for turn in reversed(self._waiting) if not turn.has_run]
        displaced_turn = max(refusable_turns, key=lambda turn: self._inside[turn.organization_id], default=None)
        if own_request_count or displaced_turn is None or self._inside[displaced_turn.organization_id] == 1:
            raise _build_refusal()
        self._waiting.remove(displaced_turn)
        # The displaced request's thread wakes in start(), which returns false, so enter() refuses that request.
        displaced_turn.wake_lock.release()

    def _may_run(self, turn: Turn) -> bool:
        own_running_count = self._running[turn.organization_id]
        max_running = MAX_RUNNING_TOGETHER if own_running_count else MAX_RUNNING
        return sum(self._running.values()) < max_running and own_running_count < MAX_RUNNING_PER_ORGANIZATION

    def _run(self, turn: Turn) -> None:
        turn.is_running = turn.has_run = True
        self._running[turn.organization_id] += 1

    def _stop(self, turn: Turn) -> None:
        if turn.is_running:
            turn.is_running = False
            _decrease(self._running, turn.organization_id)
            self._start_next_turn()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _start_next_turn(self) -> None:
        startable_turns = [turn for turn in self._waiting if self._may_run(turn)]
        if startable_turns:
            # Among organizations with equally many running turns, min() returns the turn that has waited longest.
            turn = min(startable_turns, key=lambda turn: self._running[turn.organization_id])
            self._waiting.remove(turn)
            self._run(turn)
            turn.wake_lock.release()


def _decrease(counts: Counter[str], organization_id: str) -> None:
    """Decrease an organization's count, and remove a count of 0."""
    counts[organization_id] -= 1
    if not counts[organization_id]:
        del counts[organization_id]


def _build_refusal() -> RateLimited:
    return RateLimited(
        "Too many requests of your organization are running at the same time; try again.",
        headers={"Retry-After": str(RETRY_AFTER)},
    )
