"""Limit the requests that wait for servers that organizations choose, so that no organization crowds out others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

PAUSE_PER_SECOND = 20.0
"""Seconds of pause per second for which a request has waited. During the pause, the organization gets none of the last
places, which are half of all. So organizations with slow servers cannot always occupy all places."""


class Places:
    """The places of a process for requests that wait for servers of organizations.

    :param maximum: the number of places.
    :param max_per_organization: maximum number of an organization's requests that wait.
    :param now: returns the time of a monotonic clock in seconds.
    """

    def __init__(self, maximum: int, max_per_organization: int, now: Callable[[], float] = time.monotonic) -> None:
        self._maximum, self._max_per_organization, self._now = maximum, max_per_organization, now
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._paused_until: dict[str, float] = {}

    @contextlib.contextmanager
    def reserve(self, organization_id: str) -> Iterator[bool]:
        """Reserve a place for a block of an organization. Yield whether a place was free."""
        began_at = self._now()
        with self._lock:
            has_place = self._has_place(organization_id, began_at)
            if has_place:
                self._waiting.append(organization_id)
        try:
            yield has_place
        finally:
            if has_place:
                with self._lock:
                    self._waiting.remove(organization_id)
                    self._add_pause(organization_id, began_at)

    def _has_place(self, organization_id: str, now: float) -> bool:
        own_count = self._waiting.count(organization_id)
        if len(self._waiting) < self._maximum // 2:
            return own_count < self._max_per_organization
        is_paused = now < self._paused_until.get(organization_id, now)
        return len(self._waiting) < self._maximum and own_count == 0 and not is_paused

    def _add_pause(self, organization_id: str, began_at: float) -> None:
        now = self._now()
        pauses = {paused_id: until for paused_id, until in self._paused_until.items() if now < until}
        pause_end = now + PAUSE_PER_SECOND * (now - began_at)
        # A quick request must not shorten the pause after a slow request.
        self._paused_until = pauses | {organization_id: max(pause_end, pauses.get(organization_id, now))}
