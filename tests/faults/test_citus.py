"""Faults of a Citus cluster under load: a worker is killed, and shards are moved to a new one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from agentidp.db.distribution import distribute
from tests import catalog, citus
from tests.conftest import install
from tests.db.test_database import SOMETHING
from tests.factories import Server, ServerWithoutLauncher
from tests.faults.codes import Codes
from tests.faults.load import Fleet
from tests.faults.rig import environment, run_rows

pytestmark = [pytest.mark.citus, pytest.mark.usefixtures("needs_citus")]

CLIENTS = 3
"""Number of clients per organization."""


@pytest.fixture
def running() -> Iterator[citus.Cluster]:
    """A cluster of the test's own with a distributed database, whose owner is no superuser."""
    with citus.cluster() as made:
        made.create("faults")
        made.coordinator.execute("faults", "create role owner login createrole")
        made.coordinator.execute("faults", "alter database faults owner to owner")
        url = made.coordinator.url("faults")
        install(url.replace("postgres:@", "owner:@"))
        list(distribute(url))
        yield made


def fleets_on_each_worker(cluster: citus.Cluster) -> list[Fleet]:
    """An organization on each worker."""
    url = cluster.coordinator.url("faults")
    fleets_by_worker: dict[str, Fleet] = {}
    while len(fleets_by_worker) < len(cluster.workers):
        fleet = Fleet.make(url, agents=4)
        fleets_by_worker.setdefault(citus.server_of(url, fleet.organization_id), fleet)
    return [fleets_by_worker[worker.url("faults")] for worker in cluster.workers]


def add_references(cluster: citus.Cluster, fleet: Fleet) -> None:
    """Add rows to each table that has a foreign key, but none that refuses or counts tokens."""
    with psycopg.connect(cluster.coordinator.url("faults"), autocommit=True) as connection:
        tables = {table for table, _ in catalog.references(connection)} - {"quotas", "usage_monthly"}
        for statement in SOMETHING:
            if any(statement.startswith(f"insert into {table} ") for table in tables):
                values = {"organization_id": fleet.organization_id, "agent_id": fleet.clients[0].agent_id}
                connection.execute(statement.encode(), values)


def run(cluster: citus.Cluster, rows: list[str], fault: Callable[[Server], None]) -> None:
    """Bring a load of each worker's organization on a server, cause the fault, and judge each by its row."""
    url = cluster.coordinator.url("faults")
    fleets = fleets_on_each_worker(cluster)
    for fleet in fleets:
        add_references(cluster, fleet)
    with ServerWithoutLauncher(environment(url)) as server:
        run_rows(list(zip(rows, fleets, strict=True)), url, [server], lambda: fault(server), CLIENTS)


def test_a_killed_worker_stops_its_own_organizations_only(running: citus.Cluster) -> None:
    first = running.workers[0]
    codes = Codes.make(running.coordinator.url("faults"), first.url("faults"))

    def kill_and_start() -> None:
        first.kill()
        time.sleep(3)
        first.start()

    def fault(server: Server) -> None:
        codes.redeem_all(server.port, kill_and_start)

    run(running, ["Citus: worker killed", "Citus: worker killed, organization of another"], fault)


def test_shards_move_to_a_new_worker_without_an_error(running: citus.Cluster) -> None:
    def fault(_: Server) -> None:
        running.add_worker("faults")
        # What Citus leaves out when it makes our views there.
        list(distribute(running.coordinator.url("faults")))
        running.coordinator.execute("faults", "select rebalance_table_shards(shard_transfer_mode => 'block_writes')")

    run(running, ["Citus: worker added and shards moved"] * 2, fault)
    [(placed,)] = running.coordinator.execute(
        "faults", f"select count(*) from citus_shards where nodeport = {running.workers[-1].port}"
    )
    assert int(str(placed)) > 0
