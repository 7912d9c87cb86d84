"""Counting when the slots of an organization are taken: nothing is lost, and who shares a slot waits for its row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from agentidp.db.sql import Call
from agentidp.services import Services
from tests.citus import WATCHES_THE_COORDINATOR
from tests.conftest import Cast
from tests.factories import NOON, PATIENCE, count_usage, usage_sums, wait_until

SLOTS = 16


@pytest.fixture
def holder(cast: Cast, database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that has taken all slots of Acme."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "select pg_advisory_lock(hashtext(%s), slot) from generate_series(0, %s) as slot",
            [cast.acme.organization_id, SLOTS - 1],
        )
        connection.commit()
        yield connection


@pytest.mark.usefixtures("holder")
def test_a_slot_is_shared_if_all_are_taken(services: Services, cast: Cast, database_url: str) -> None:
    acme = cast.acme
    for _ in range(2):
        count_usage(services, acme.organization_id, acme.agent_id, NOON, tokens=2, requests=1)
    sums = usage_sums(database_url, acme.organization_id)
    assert sums == {name: 4 if "tokens" in name else 6 if "requests" in name else 0 for name in sums}


@WATCHES_THE_COORDINATOR
def test_the_first_two_of_a_shared_slot_are_both_counted(
    services: Services, cast: Cast, database_url: str, holder: psycopg.Connection[Any]
) -> None:
    acme = cast.acme
    # In every slot another transaction is the first, and has not committed.
    holder.execute(
        "insert into usage_daily select %s, %s, slot, 0, count_nothing(), count_nothing(), count_nothing() "
        "from generate_series(0, %s) as slot",
        [acme.organization_id, NOON.date(), SLOTS - 1],
    )
    thread = threading.Thread(
        target=count_usage, args=(services, acme.organization_id, acme.agent_id, NOON), kwargs={"tokens": 1}
    )
    thread.start()
    with psycopg.connect(database_url, autocommit=True) as observer:
        waiting = "select from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'"
        wait_until(lambda: observer.execute(waiting).fetchall())
    holder.commit()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    sums = usage_sums(database_url, acme.organization_id)
    assert sums == {name: 0 if "rejected" in name else 1 for name in sums}


@pytest.mark.parametrize("hour", [-1, 24])
def test_an_hour_that_no_day_has_is_refused(services: Services, cast: Cast, database_url: str, hour: int) -> None:
    """The tables do not check the length of their arrays."""
    acme = cast.acme
    for good in (0, 23):
        services.database.of(acme.organization_id, NOON).run(
            Call("usage/record_rejection", {"agent_id": acme.agent_id, "hour": good})
        )
    before = usage_sums(database_url, acme.organization_id)
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow, match=f"hour {hour} is not one of a day"):
        services.database.of(acme.organization_id, NOON).run(
            Call("usage/record_rejection", {"agent_id": acme.agent_id, "hour": hour})
        )
    assert usage_sums(database_url, acme.organization_id) == before
    with psycopg.connect(database_url) as owner:
        lengths = owner.execute("select distinct cardinality(rejected_by_hour) from agent_usage_daily").fetchall()
    assert lengths == [(24,)]
