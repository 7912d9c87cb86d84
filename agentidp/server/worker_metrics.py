"""Samples the values of a worker that cannot be counted as events."""

from __future__ import annotations

import threading
import time

from agentidp.db.pool import Pool
from agentidp.metrics import POOL_CONNECTIONS, POOL_WAITING, POOL_WAITS, WORKERS
from agentidp.services import Services

INTERVAL = 5
"""Seconds between two samples."""


class WorkerSampler:
    """Samples a worker's connection pools."""

    def __init__(self, services: Services) -> None:
        self._pools = [services.database.pool]
        if services.read_replica is not None:
            self._pools.append(services.read_replica.database.pool)
        self._waits = dict.fromkeys((pool.name for pool in self._pools), 0)

    def start(self) -> None:
        """Count this worker as running, and start a thread that samples its pools. Call this method after the fork."""
        WORKERS.set(1)
        threading.Thread(target=self._keep_sampling, name="worker-metrics", daemon=True).start()

    def sample(self) -> None:
        """Sample each pool once."""
        for pool in self._pools:
            self._sample(pool)

    def _sample(self, pool: Pool) -> None:
        found = pool.statistics()
        size, idle = found["pool_size"], found.get("pool_available", 0)
        POOL_CONNECTIONS.labels(pool.name, "idle").set(idle)
        POOL_CONNECTIONS.labels(pool.name, "in_use").set(size - idle)
        POOL_WAITING.labels(pool.name).set(found["requests_waiting"])
        waits = found.get("requests_queued", 0)
        # The pool's counter restarts at 0 when the pool is reopened.
        POOL_WAITS.labels(pool.name).inc(max(0, waits - self._waits[pool.name]))
        self._waits[pool.name] = waits

    def _keep_sampling(self) -> None:
        while True:
            self.sample()
            time.sleep(INTERVAL)
