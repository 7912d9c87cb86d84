"""The pool: which connection is used, how many there are and when one is thrown away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from agentidp import pool as pool_module
from agentidp.circuit_breaker import CircuitBreaker
from agentidp.pipeline import PipelinedConnection
from agentidp.pool import NoConnection, Pool

from .factories import wait_until


class Connector:
    """Opens connections to a database, and counts them."""

    def __init__(self, url: str) -> None:
        self.url, self.opened = url, 0

    def __call__(self) -> PipelinedConnection:
        self.opened += 1
        return PipelinedConnection.connect(self.url, autocommit=True, connect_timeout=2)


@pytest.fixture
def connector(database_url: str) -> Connector:
    return Connector(database_url)


@pytest.fixture
def pool(connector: Connector) -> Iterator[Pool]:
    """Two connections at most, one of which is kept."""
    pool = Pool(connector, name="test", min_size=1, max_size=2, timeout=0.2, max_waiting=1)
    yield pool
    pool.close()
    assert pool.size == 0


def test_uses_the_last_one_again(pool: Pool, connector: Connector) -> None:
    with pool.connection() as first, pool.connection() as second:
        pass
    for _ in range(3):
        with pool.connection() as again:
            assert again is first
    assert not second.closed
    assert (pool.size, connector.opened) == (2, 2)


def test_gives_up_if_all_stay_in_use(pool: Pool) -> None:
    with pool.connection(), pool.connection():
        with pytest.raises(NoConnection, match="all connections stayed in use"), pool.connection():
            pass
        assert (pool.size, pool.waiting) == (2, 0)


def test_passes_on_what_is_returned(pool: Pool) -> None:
    served = []

    def ask() -> None:
        with pool.connection() as connection:
            served.append(connection)

    with pool.connection() as first, pool.connection():
        waiting = threading.Thread(target=ask)
        waiting.start()
        wait_until(lambda: pool.waiting == 1)
        with pytest.raises(NoConnection, match="too many requests"), pool.connection():
            pass
        pool._release(first)
        waiting.join(5)
        pool._idle.remove(next(entry for entry in pool._idle if entry[1] is first))
    assert served == [first]


def test_rolls_back_what_the_block_left_open(pool: Pool, connector: Connector) -> None:
    with pool.connection() as connection:
        connection.execute("begin")
    with pool.connection() as again:
        assert again is connection
        assert again.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert connector.opened == 1


def test_throws_away_what_the_block_left_broken(pool: Pool) -> None:
    with pool.connection() as connection:
        connection.close()
    assert pool.size == 0
    with pool.connection() as other:
        assert other.execute("select 1").fetchone() == (1,)


def test_replaces_an_old_one(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pool.connection() as connection:
        monkeypatch.setattr(pool_module, "MAXIMUM_AGE", 0)
    assert connection.closed
    assert pool.size == 0


def test_closes_what_nobody_needs_but_for_the_fewest(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pool.connection() as kept, pool.connection() as unneeded:
        pass
    monkeypatch.setattr(pool_module, "MAXIMUM_IDLE", 0)
    time.sleep(0.01)
    for _ in range(3):
        with pool.connection() as connection:
            assert connection is kept
        time.sleep(0.01)
    assert unneeded.closed
    assert not kept.closed
    assert pool.size == 1


def test_a_further_connection_that_is_refused_is_no_outage(pool: Pool, connector: Connector) -> None:
    with pool.connection():
        connector.url = "postgresql://nobody@127.0.0.1:1/nothing"
        with pytest.raises(NoConnection, match="refused"), pool.connection():
            pass
        assert not pool.breaker.is_open
    with pool.connection() as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_those_who_wait_are_released_when_the_database_is_found_unreachable(connector: Connector) -> None:
    pool = Pool(connector, name="test", min_size=0, max_size=1, timeout=30, max_waiting=4)
    released = []

    def ask() -> None:
        begin = time.monotonic()
        with pytest.raises(NoConnection) as caught, pool.connection():
            pass
        released.append((caught.value.is_known, time.monotonic() - begin < 10))

    with pool.connection() as connection:
        waiting = [threading.Thread(target=ask) for _ in range(3)]
        for thread in waiting:
            thread.start()
        wait_until(lambda: pool.waiting == 3)
        connector.url = "postgresql://nobody@127.0.0.1:1/nothing"
        connection.is_unanswered = True
        connection.close()
    for thread in waiting:
        thread.join(10)
    assert released == [(True, True)] * 3
    pool.close()


def test_the_connection_that_ends_an_outage_serves_the_first_request(connector: Connector) -> None:
    url, connector.url = connector.url, "postgresql://nobody@127.0.0.1:1/nothing"
    pool = Pool(connector, name="test", min_size=0, max_size=1, timeout=1, max_waiting=1)
    with pytest.raises(NoConnection), pool.connection():
        pass
    assert pool.breaker.is_open
    connector.url = url
    wait_until(lambda: not pool.breaker.is_open, timeout=5)
    opened = connector.opened
    with pool.connection() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert connector.opened == opened
    pool.close()


def test_one_thread_tries_whatever_goes_wrong() -> None:
    attempts = []

    def attempt() -> None:
        attempts.append(threading.current_thread())
        if len(attempts) < 4:
            raise RuntimeError("no psycopg.Error")

    breaker = CircuitBreaker("test", attempt)
    for _ in range(5):
        breaker.open("a reason")
    wait_until(lambda: not breaker.is_open)
    assert len(attempts) == 4
    assert len(set(attempts)) == 1
