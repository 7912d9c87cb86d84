"""Limit how many codes a process exchanges at the same time: it has a few places, and each exchange takes a place.

An exchange occupies a thread, and anyone can send a code that the provider takes seconds to refuse. So each network,
for example of an office, gets few places, and networks with recent failures share half of all places. If a network
finds no place twice, this counts as a failure.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

PLACES = 4
"""Maximum number of threads per process that exchange codes at the provider at the same time."""

PLACES_PER_NETWORK = 2
"""Maximum number of threads per process that exchange codes for the same network."""

PLACES_OF_FAILED_NETWORKS = PLACES // 2
"""Maximum number of threads per process that exchange codes for all networks with recent failures together."""

FAILED_FOR = timedelta(minutes=10)
"""Time for which a network counts as failed after a failure, unless an exchange succeeds."""

MAX_REMEMBERED = 10_000
"""Maximum number of networks whose failures a process remembers, which take about 2 MB."""

_NO_PLACE, _FAILURE = 1, 2


class Places:
    """Limits the threads that exchange codes, in total and per network. A number identifies each network."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: list[int] = []
        self._failures: dict[int, tuple[int, datetime]] = {}

    def has_maximum(self, network: int) -> bool:
        """Return whether a network occupies :data:`PLACES_PER_NETWORK` threads, so that it gets no further thread."""
        with self._lock:
            return self._busy.count(network) >= PLACES_PER_NETWORK

    def reserve_thread(self, network: int, at: datetime) -> bool:
        """Reserve a thread for a network until :meth:`release_thread`, and return whether a thread was free."""
        with self._lock:
            if self._busy.count(network) >= PLACES_PER_NETWORK:
                return False
            is_thread_free = len(self._busy) < PLACES
            if is_thread_free and self._has_failed(network, at):
                failed_network_count = sum(self._has_failed(busy_network, at) for busy_network in self._busy)
                is_thread_free = failed_network_count < PLACES_OF_FAILED_NETWORKS
            if is_thread_free:
                self._busy.append(network)
            else:
                self._add_failure(_NO_PLACE, network, at)
            return is_thread_free

    def release_thread(self, network: int, at: datetime, *, has_failed: bool) -> None:
        """Release a thread of a network. Remember a failed exchange; after a success, forget the network's failures."""
        with self._lock:
            self._busy.remove(network)
            if has_failed:
                self._add_failure(_FAILURE, network, at)
            else:
                self._failures.pop(network, None)

    def _has_failed(self, network: int, at: datetime) -> bool:
        return self._count_recent_failures(network, at) >= _FAILURE

    def _count_recent_failures(self, network: int, at: datetime) -> int:
        failure_count, last_failed_at = self._failures.get(network, (0, at))
        return failure_count if at - last_failed_at < FAILED_FOR else 0

    def _add_failure(self, weight: int, network: int, at: datetime) -> None:
        count = self._count_recent_failures(network, at) + weight
        self._failures.pop(network, None)
        self._failures[network] = count, at
        if len(self._failures) > MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]
