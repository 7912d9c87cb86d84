"""Leader and followers: the thread that waits for work does it itself, and hands the lead over if that takes long.

One thread, the leader, waits for events and serves what comes. A short piece of work changes no thread, which a queue
between a waiting thread and a pool does twice. The lead passes to another thread in two cases:

- The leader has served one piece for longer than PATIENCE. The main thread looks that often, as Go's scheduler does for
  system calls. The slow piece goes on in its thread, which afterwards stands by.
- Most of the last TRIAL pieces were slow. Then the leader hands over before it serves, for the next FIRST_SPAN pieces.
  Otherwise a database that always takes 20 ms would cost PATIENCE of waiting for events each time. After them comes
  another trial, and the span doubles up to LAST_SPAN while trials fail. Pieces of a span are not judged: they run
  beside each other and wait for the interpreter's lock, so they are slow even if each alone would not be.

The next leader is the thread that stood by last, or a new one while there are fewer than *most*. If there is none,
nobody waits for events until a thread becomes free, which then leads.

``_turn`` guards who leads: whether a thread still leads at the end of its work is decided under this lock, and so is
each hand-over. There is never more than one leader.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PATIENCE = 0.005
"""Seconds that a piece of work may keep the lead."""

TRIAL = 16
"""Pieces that are judged together."""

FIRST_SPAN, LAST_SPAN = 32, 1024
"""Pieces for which the leader hands over before it serves."""

NAP = 1.0
"""Seconds that the main thread sleeps at most."""


class Leadership:
    """Who leads.

    :param lead: waits for events and serves until :meth:`leads` is false; runs in the thread that leads.
    :param set_aside: called before another thread leads, while the one that led is serving.
    :param most: how many threads there may be.
    """

    def __init__(self, lead: Callable[[], None], set_aside: Callable[[], None], most: int) -> None:
        self._lead, self._set_aside, self._most = lead, set_aside, most
        self._turn = threading.Lock()
        self._leader: _Thread | None = None
        self._standing_by: list[_Thread] = []
        self._started = 0
        self._busy_since = 0.0
        self._served = self._seen = 0
        self._tried = self._slow = self._ahead = 0
        self._span = FIRST_SPAN
        self._is_asleep = False
        self._stirred = threading.Event()
        self.has_ended = False
        self.failure: BaseException | None = None

    # --- In any thread ---

    def start(self) -> None:
        """Make a first thread lead."""
        with self._turn:
            self._hand_over()

    def end(self, failure: BaseException | None = None) -> None:
        """Let nobody lead any more; wakes the main thread."""
        with self._turn:
            self._leader = None
        self.failure = self.failure or failure
        self.has_ended = True
        self._stirred.set()

    # --- In a thread that leads or led ---

    def leads(self) -> bool:
        """Whether the calling thread leads."""
        return self._leader is threading.current_thread()

    def begin(self) -> float:
        """The calling leader serves from now on, and may lose the lead.

        :returns: what :meth:`finish` needs: the instant, or 0 if the piece is not judged.
        """
        begin = self._busy_since = time.monotonic()
        if self._ahead:
            self._ahead -= 1
            with self._turn:
                # The main thread may have been first, and there may be no other thread.
                if not self.leads() or self._hand_over():
                    return 0.0
        self._served += 1
        if self._is_asleep:
            self._stirred.set()
        return begin

    def finish(self, begin: float) -> bool:
        """The calling thread has served. Returns whether it still leads."""
        with self._turn:
            if begin:
                self._judge(time.monotonic() - begin >= PATIENCE)
            if not self.leads():
                return False
            self._busy_since = 0.0
            return True

    def stand_by(self, thread: _Thread) -> None:
        """Offer *thread*, which does not lead. It leads at once if the leader is overdue."""
        with self._turn:
            self._standing_by.append(thread)
            if self.is_overdue(PATIENCE):
                self._hand_over()

    def lead(self) -> None:
        """Lead in the calling thread."""
        self._lead()

    # --- In the main thread ---

    def is_overdue(self, seconds: float) -> bool:
        """Whether the leader has been serving one piece for so long."""
        begin = self._busy_since
        return begin > 0 and time.monotonic() - begin >= seconds

    def watch(self) -> None:
        """Hand the lead over if that is due; then wait for PATIENCE, or while no leader serves."""
        if self.is_overdue(PATIENCE):
            with self._turn:
                if self.is_overdue(PATIENCE):
                    self._hand_over()
        if self._seen != self._served or self._busy_since:
            self._seen = self._served
            time.sleep(PATIENCE)
            return
        # A leader looks at _is_asleep after it has counted, so either it wakes this thread or this thread sees it.
        self._is_asleep = True
        if self._seen == self._served and not self.has_ended:
            self._stirred.wait(NAP)
        self._is_asleep = False
        self._stirred.clear()

    # --- With the lock ---

    def _judge(self, is_slow: bool) -> None:
        self._tried, self._slow = self._tried + 1, self._slow + is_slow
        if self._tried >= TRIAL:
            if self._slow > TRIAL / 2:
                self._ahead, self._span = self._span, min(2 * self._span, LAST_SPAN)
            else:
                self._span = FIRST_SPAN
            self._tried = self._slow = 0

    def _hand_over(self) -> bool:
        if self._standing_by:
            thread = self._standing_by.pop()
        elif self._started < self._most:
            thread = _Thread(self, f"server-{self._started}")
            try:
                thread.start()
            except RuntimeError:  # The system has no more threads.
                if not self._started:
                    raise
                return False
            self._started += 1
        else:
            return False
        if self._leader is not None:
            self._set_aside()
        self._busy_since = 0.0
        self._leader = thread
        thread.called.release()
        return True


class _Thread(threading.Thread):
    """A thread that leads if it is called, and stands by otherwise. It holds up nobody's end."""

    def __init__(self, leadership: Leadership, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.leadership, self.called = leadership, threading.Lock()
        self.called.acquire()

    def run(self) -> None:
        try:
            while self.called.acquire():
                self.leadership.lead()
                self.leadership.stand_by(self)
        except BaseException as error:  # Whatever it is: the main thread raises it.
            self.leadership.end(error)
