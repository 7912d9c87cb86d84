"""The places of a process for exchanging codes, and who gets one.

Each place is a thread of the process, and anyone can send a code that the provider takes seconds to refuse. So a site
has few places, and half of them are for sites that have not failed lately. Finding no place twice is a failure too:
whoever tries all the time with many addresses is soon known by all of them, and a person gets in at the second try.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

PLACES = 4
"""Threads of a process that exchange codes at the same time."""

PLACES_OF_ONE = 2
"""At most this many of them are for one site, so that it cannot occupy them all."""

PLACES_OF_FAILED = PLACES // 2
"""At most this many of them are for sites that have failed lately."""

FAILED_FOR = timedelta(minutes=10)
"""For which a site that has failed, and not succeeded since, counts as failed."""

MAX_REMEMBERED = 10_000
"""Sites with failures that a process remembers, about 2 MB. The one whose last failure is longest ago is forgotten."""

_NO_PLACE, _FAILURE = 1, 2


class Places:
    """The places of one process. A site is any number that stands for a network."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: list[int] = []
        self._failures: dict[int, tuple[int, datetime]] = {}

    def take(self, site: int, at: datetime) -> bool:
        """Take a place, and return whether there was one. Whoever has taken it must :meth:`give_back`."""
        with self._lock:
            if self._busy.count(site) >= PLACES_OF_ONE:
                return False
            has_place = len(self._busy) < PLACES
            if has_place and self._has_failed(site, at):
                has_place = sum(self._has_failed(one, at) for one in self._busy) < PLACES_OF_FAILED
            if has_place:
                self._busy.append(site)
            else:
                self._count(_NO_PLACE, site, at)
            return has_place

    def give_back(self, site: int, at: datetime, *, has_failed: bool) -> None:
        """Give a place back, and remember how it went."""
        with self._lock:
            self._busy.remove(site)
            if has_failed:
                self._count(_FAILURE, site, at)
            else:
                self._failures.pop(site, None)

    def _has_failed(self, site: int, at: datetime) -> bool:
        return self._counted(site, at) >= _FAILURE

    def _counted(self, site: int, at: datetime) -> int:
        count, last_at = self._failures.get(site, (0, at))
        return count if at - last_at < FAILED_FOR else 0

    def _count(self, what: int, site: int, at: datetime) -> None:
        count = self._counted(site, at) + what
        self._failures.pop(site, None)
        self._failures[site] = count, at
        if len(self._failures) > MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]
