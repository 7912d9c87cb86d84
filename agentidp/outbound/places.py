"""Limit the requests that wait for servers that organizations choose, so that no organization crowds out others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

SECONDS_TO_FORGET = 20.0
"""Seconds until one second for which a request has waited is forgotten. So on average, an organization with a slow
server can occupy one of the last places, which are half of all, for 5 % of the time."""

MAX_WAITED = 2.5
"""Seconds for which requests of an organization may have waited before it gets none of the last places. Ten responses
per minute, to failures that the throttle of an address admits, stay below this maximum if each takes 0.25 seconds."""

_FORGETTING = MAX_WAITED * SECONDS_TO_FORGET


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
        self._forgotten_at: dict[str, float] = {}

    @contextlib.contextmanager
    def reserve(self, organization_id: str) -> Iterator[bool]:
        """Reserve a place for a block of an organization, and yield whether a place was free."""
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
                    self._remember_waiting(organization_id, began_at)

    def _has_place(self, organization_id: str, now: float) -> bool:
        own_count = self._waiting.count(organization_id)
        if len(self._waiting) < self._maximum // 2:
            return own_count < self._max_per_organization
        is_slow = self._forgotten_at.get(organization_id, now) > now + _FORGETTING
        return len(self._waiting) < self._maximum and own_count == 0 and not is_slow

    def _remember_waiting(self, organization_id: str, began_at: float) -> None:
        now = self._now()
        forgotten_at = {slow_id: instant for slow_id, instant in self._forgotten_at.items() if now < instant}
        earlier = forgotten_at.get(organization_id, now)
        # Requests that waited while many places were free must not exclude the organization for hours.
        later = min(earlier, now + _FORGETTING) + SECONDS_TO_FORGET * (now - began_at)
        self._forgotten_at = forgotten_at | {organization_id: max(earlier, later)}
