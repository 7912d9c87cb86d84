"""The samples of a worker's connection pools."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from agentidp.server.worker_metrics import WorkerSampler
from agentidp.services import Services
from tests.conftest import settings_for
from tests.factories import PATIENCE, Clock, wait_until


def value(name: str, **labels: str) -> float:
    """Return a sample's value; 0 if there is no sample."""
    return REGISTRY.get_sample_value(name, {"database": "primary", **labels}) or 0.0


@pytest.fixture
def services(database_url: str, clock: Clock) -> Iterator[Services]:
    """Return services whose requests wait for a connection until the test ends."""
    made = Services.of(settings_for(database_url, pool_timeout=2 * PATIENCE), clock)
    yield made
    made.close()


def test_samples_the_connections_and_the_requests_that_wait_for_one(services: Services) -> None:
    pool, sampler = services.database.pool, WorkerSampler(services)
    most = services.settings.pool_max_size
    waits = value("agentidp_database_pool_waits_total")
    leave = threading.Event()

    def hold() -> None:
        with pool.connection():
            leave.wait()

    threads = [threading.Thread(target=hold) for _ in range(most + 1)]
    for thread in threads:
        thread.start()
    try:

        def sampled(name: str, **labels: str) -> float:
            sampler.sample_pools()
            return value(name, **labels)

        wait_until(lambda: sampled("agentidp_database_pool_connections", state="in_use") == most)
        # Until a connection is returned, psycopg's pool counts each time that a request looked for one.
        wait_until(lambda: sampled("agentidp_database_pool_waiting") >= 1)
        assert value("agentidp_database_pool_connections", state="idle") == 0
        assert value("agentidp_database_pool_waits_total") > waits
    finally:
        leave.set()
        for thread in threads:
            thread.join()
    wait_until(lambda: pool.statistics()["pool_available"] == pool.statistics()["pool_size"])
    sampler.sample_pools()
    counted = value("agentidp_database_pool_waits_total")
    sampler.sample_pools()
    assert value("agentidp_database_pool_connections", state="in_use") == 0
    assert value("agentidp_database_pool_waiting") == 0
    assert value("agentidp_database_pool_waits_total") == counted
    services.database.close()
    sampler.sample_pools()
    assert value("agentidp_database_pool_connections", state="idle") == 0
