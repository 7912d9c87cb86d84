"""Samples a worker's database connections for the metrics."""

from __future__ import annotations

import threading
import time

from agentidp.metrics import POOL_CONNECTIONS, POOL_WAITING, POOL_WAITS, WORKERS
from agentidp.services import Services

INTERVAL = 5
"""Seconds between two samples of the connection pools."""


class WorkerSampler:
    """Records the state of a worker's connection pools as metrics."""

    def __init__(self, services: Services) -> None:
        self._pools = [services.database.pool]
        if services.read_replica is not None:
            self._pools.append(services.read_replica.database.pool)
        self._wait_counts = dict.fromkeys((pool.name for pool in self._pools), 0)

    def start(self) -> None:
        """Count this worker as running, and start a thread that samples its pools. Call this after the fork."""
        WORKERS.set(1)
        threading.Thread(target=self._keep_sampling, name="worker-metrics", daemon=True).start()

    def sample_pools(self) -> None:
        """Sample each connection pool once."""
        for pool in self._pools:
            statistics = pool.statistics()
            idle_count, wait_count = statistics.get("pool_available", 0), statistics.get("requests_queued", 0)
            POOL_CONNECTIONS.labels(pool.name, "idle").set(idle_count)
            POOL_CONNECTIONS.labels(pool.name, "in_use").set(statistics["pool_size"] - idle_count)
            POOL_WAITING.labels(pool.name).set(statistics["requests_waiting"])
            # The difference is negative if the pool was reopened, because its counter then restarts at 0.
            POOL_WAITS.labels(pool.name).inc(max(0, wait_count - self._wait_counts[pool.name]))
            self._wait_counts[pool.name] = wait_count

    def _keep_sampling(self) -> None:
        while True:
            self.sample_pools()
            time.sleep(INTERVAL)
