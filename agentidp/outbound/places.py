"""Limit the requests that wait for servers that organizations choose, so that no organization crowds out others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

SECONDS_TO_FORGET = 20.0
"""Seconds after which one second of an organization's waiting no longer counts. So, while at least half of the places
are taken, an organization with a slow server can occupy a place for at most one second in 20 on average."""

MAX_WAITED = 2.5
"""Maximum seconds that an organization's requests may have waited recently. Above it, the organization gets no place
while at least half of the places are taken. An address can cause ten failed requests per minute, which do not exceed
this maximum if each takes 0.25 s."""

_MAX_FORGETTING = MAX_WAITED * SECONDS_TO_FORGET


class Places:
    """Limits the requests of a process that wait for servers of organizations. Each such request takes a place.

    :param maximum: the number of places.
    :param max_per_organization: the maximum number of places for an organization.
    :param now: returns the time of a monotonic clock in seconds.
    """

    def __init__(self, maximum: int, max_per_organization: int, now: Callable[[], float] = time.monotonic) -> None:
        self._maximum, self._max_per_organization, self._now = maximum, max_per_organization, now
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        # The instant, by organization, at which all of its waiting will be forgotten.
        self._forgotten_at: dict[str, float] = {}

    @contextlib.contextmanager
    def reserve(self, organization_id: str) -> Iterator[bool]:
        """Take a place for an organization until the ``with`` block ends, and yield whether a place was free."""
        began_at = self._now()
        with self._lock:
            is_reserved = self._is_place_free(organization_id, began_at)
            if is_reserved:
                self._waiting.append(organization_id)
        try:
            yield is_reserved
        finally:
            if is_reserved:
                with self._lock:
                    self._waiting.remove(organization_id)
                    self._remember_waiting(organization_id, began_at)

    def _is_place_free(self, organization_id: str, now: float) -> bool:
        own_request_count = self._waiting.count(organization_id)
        if len(self._waiting) < self._maximum // 2:
            return own_request_count < self._max_per_organization
        is_slow = self._forgotten_at.get(organization_id, now) > now + _MAX_FORGETTING
        return len(self._waiting) < self._maximum and own_request_count == 0 and not is_slow

    def _remember_waiting(self, organization_id: str, began_at: float) -> None:
        now = self._now()
        forget_at_by_id = {id_: forget_at for id_, forget_at in self._forgotten_at.items() if now < forget_at}
        old_forget_at = forget_at_by_id.get(organization_id, now)
        # min() limits the earlier waiting. Otherwise, an organization that waited long while places were free would
        # get no place for hours while half of the places are taken.
        new_forget_at = min(old_forget_at, now + _MAX_FORGETTING) + SECONDS_TO_FORGET * (now - began_at)
        self._forgotten_at = forget_at_by_id | {organization_id: max(old_forget_at, new_forget_at)}
