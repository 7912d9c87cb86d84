"""Counting when the slots of an organization are taken: nothing is lost, and who shares a slot waits for its row. On
Citus, slots and rows are those of the organization's worker.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp import create_app
from tests.citus import server_of, servers_of, someone_waits
from tests.conftest import ON_CITUS_TOO, Cast, make_cast, settings_for
from tests.factories import NOON, PATIENCE, Clock, usage_sums, wait_until
from tests.helpers.slots import SLOTS

pytestmark = ON_CITUS_TOO


@pytest.fixture
def holder(cast: Cast, database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that holds the locks of all slots of Acme."""
    with psycopg.connect(server_of(database_url, cast.acme.organization_id)) as connection:
        connection.execute(
            "select pg_advisory_lock(hashtext(%s), slot) from generate_series(0, %s) as slot",
            [cast.acme.organization_id, SLOTS - 1],
        )
        connection.commit()
        yield connection


@pytest.mark.usefixtures("holder")
def test_a_slot_is_shared_if_all_are_taken(cast: Cast, database_url: str) -> None:
    acme = cast.acme
    for _ in range(2):
        acme.count(NOON, tokens=2, requests=1)
    sums = usage_sums(database_url, acme.organization_id)
    assert sums == {name: 4 if "tokens" in name else 6 if "requests" in name else 0 for name in sums}


def test_the_first_two_of_a_shared_slot_are_both_counted(
    cast: Cast, database_url: str, holder: psycopg.Connection[Any]
) -> None:
    acme = cast.acme
    # Another transaction has inserted the first row of every slot, and has not committed.
    holder.execute(
        "insert into usage_daily select %s, %s, slot, 0, count_nothing(), count_nothing(), count_nothing() "
        "from generate_series(0, %s) as slot",
        [acme.organization_id, NOON.date(), SLOTS - 1],
    )
    thread = threading.Thread(target=acme.count, args=(NOON,), kwargs={"tokens": 1})
    thread.start()
    wait_until(lambda: someone_waits(database_url))
    holder.commit()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    sums = usage_sums(database_url, acme.organization_id)
    assert sums == {name: 0 if "rejected" in name else 1 for name in sums}


def waiting_in(url: str, organization_id: str) -> list[int]:
    """Return the organization's slots on one server in which a transaction waits for a row."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            """
            select taken.objid::integer
            from pg_locks as taken
            join pg_locks as awaited on awaited.pid = taken.pid and not awaited.granted
            where
                taken.locktype = 'advisory' and taken.objsubid = 2
                and taken.database = (select oid from pg_database where datname = current_database())
                and taken.classid = (hashtext(%s)::bit(32)::bigint)::oid
                -- Those from 16 on are the locks of quotas.
                and taken.objid < 16::oid
                and awaited.locktype = 'transactionid'
            order by 1
            """,
            [organization_id],
        ).fetchall()
        return [slot for (slot,) in rows]


def get_token(client: FlaskClient, cast: Cast, secret: str) -> int:
    """Request a token for Acme's agent and return the status."""
    form = {"grant_type": "client_credentials", "client_id": cast.acme.client_id, "client_secret": secret}
    return client.post("/api/v1/token", data=form).status_code


def test_tokens_requests_and_rejections_take_their_slots_on_one_server(database_url: str, clock: Clock) -> None:
    """If the coordinator also had slots, two transactions in slot 0 would wait for the same row."""
    app = create_app(settings_for(database_url, statement_timeout=20.0, pool_timeout=25.0), clock=clock)
    cast = make_cast(app.extensions["agentidp"])
    organization_id = cast.acme.organization_id
    place = server_of(database_url, organization_id)
    bearer = cast.acme.bearer()
    other_servers = [url for url in servers_of(database_url) if url != place]
    kinds = [
        lambda: get_token(app.test_client(), cast, cast.acme.client_secret),
        lambda: app.test_client().get("/api/v1/analytics/tokens", headers=bearer).status_code,
        lambda: get_token(app.test_client(), cast, "wrong"),
    ]
    with ThreadPoolExecutor(len(kinds)) as threads, psycopg.connect(place) as holder:
        holder.execute(
            "insert into usage_daily select %s, %s, slot, 0, count_nothing(), count_nothing(), count_nothing() "
            "from generate_series(0, %s) as slot",
            [organization_id, NOON.date(), len(kinds) - 1],
        )
        answers = []
        for kind in kinds:
            answers.append(threads.submit(kind))
            wait_until(lambda: waiting_in(place, organization_id) == list(range(len(answers))), timeout=20)
        assert [waiting_in(url, organization_id) for url in other_servers] == [[]] * len(other_servers)
        holder.commit()
        statuses = [answer.result(PATIENCE) for answer in answers]
    app.extensions["agentidp"].close()
    assert statuses == [200, 200, 401]
    sums = usage_sums(database_url, organization_id)
    # A token also counts as a request.
    assert sums == {name: 2 if "requests" in name else 1 for name in sums}
