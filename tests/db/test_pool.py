"""The pool: when a connection is discarded, and when a request stops waiting for a connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from agentidp.db.circuit_breaker import CircuitBreaker
from agentidp.db.pipeline import PipelinedConnection
from agentidp.db.pool import NoConnection, Pool
from tests.factories import PATIENCE, wait_until

MakePool = Callable[..., Pool]
Opened = list[PipelinedConnection]
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def opened() -> Opened:
    """Collects the connections that a pool has opened."""
    return []


@pytest.fixture
def make_pool(database_url: str, opened: Opened) -> Iterator[MakePool]:
    """Return a function that opens a pool with at most two connections."""
    with ExitStack() as stack:

        def make(url: str = database_url, **changes: float) -> Pool:
            sizes = {"max_size": 2, "timeout": PATIENCE, "max_waiting": 4} | changes
            arguments = {"autocommit": True, "connect_timeout": 30}
            pool = Pool(url, arguments, opened.append, name="test", **sizes)  # type: ignore[arg-type]
            stack.callback(pool.close)
            return pool

        yield make


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    """Return a pool with at most two connections."""
    return make_pool()


@contextmanager
def all_in_use(pool: Pool) -> Iterator[None]:
    """Use both connections, and shorten the time that requests wait for a connection."""
    with pool.connection(), pool.connection():
        pool._timeout = 0.3
        yield


def answers(pool: Pool) -> bool:
    with pool.connection() as connection:
        return connection.execute("select 1").fetchone() == (1,)


def test_a_connection_that_comes_back_goes_to_the_request_that_waits_longest(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    served: list[int] = []

    def ask(number: int) -> None:
        with pool.connection():
            served.append(number)

    with pool.connection():
        waiting = []
        for number in range(3):
            waiting.append(threading.Thread(target=ask, args=[number]))
            waiting[-1].start()
            wait_until(lambda: pool.statistics()["requests_waiting"] == len(waiting))
    for thread in waiting:
        thread.join(PATIENCE)
    assert served == [0, 1, 2]


def test_gives_up_if_all_stay_in_use(pool: Pool) -> None:
    with all_in_use(pool):
        for _ in range(3):
            with pytest.raises(NoConnection, match="all connections stayed in use"), pool.connection():
                pass
        assert pool.statistics()["pool_size"] == 2
    assert not pool.breaker.is_open
    statistics = pool.statistics()
    # Each request has waited once. Otherwise the metrics and the limit of waiting requests would be wrong.
    assert (statistics["requests_waiting"], statistics["requests_queued"]) == (0, 3 + 2)


def test_refuses_those_beyond_the_number_that_may_wait(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, max_waiting=1)
    served = []
    with pool.connection():
        waiting = threading.Thread(target=lambda: served.append(answers(pool)))
        waiting.start()
        wait_until(lambda: pool.statistics()["requests_waiting"] == 1)
        with pytest.raises(NoConnection, match="too many requests"), pool.connection():
            pass
    waiting.join(PATIENCE)
    assert served == [True]


def test_uses_a_connection_again_after_it_has_rolled_back_and_replaces_a_broken_one(pool: Pool, opened: Opened) -> None:
    with pool.connection() as connection:
        connection.execute("begin")
    with pool.connection() as again:
        assert again is connection
        assert again.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert len(opened) == 1
        again.close()
    assert answers(pool)


def test_replaces_all_that_died_while_idle_in_one_request(pool: Pool, opened: Opened, database_url: str) -> None:
    with pool.connection(), pool.connection():
        pass
    with psycopg.connect(database_url, autocommit=True) as operator:
        for connection in opened:
            operator.execute("select pg_terminate_backend(%s::integer)", [connection.info.backend_pid])
    wait_until(lambda: all(connection.has_ended() for connection in opened))
    assert answers(pool)
    assert not pool.breaker.is_open


def test_an_unreachable_database_is_noticed_at_once_and_remembered(make_pool: MakePool) -> None:
    pool = make_pool(NOWHERE, timeout=3 * PATIENCE)
    # A request that waited until its timeout would wait three times as long.
    ends = time.monotonic() + PATIENCE
    for _ in range(100):
        with pytest.raises(NoConnection) as refused, pool.connection():
            pass
        assert refused.value.is_logged
    assert time.monotonic() < ends


def test_those_who_wait_are_released_when_the_database_does_not_answer(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, timeout=3 * PATIENCE)
    released = []

    def ask() -> None:
        begin = time.monotonic()
        try:
            with pool.connection():
                released.append("served")
        except NoConnection as error:
            released.append("known" if error.is_logged and time.monotonic() - begin < PATIENCE else "late")

    with pool.connection() as connection:
        waiting = [threading.Thread(target=ask) for _ in range(3)]
        for thread in waiting:
            thread.start()
        wait_until(lambda: pool.statistics()["requests_waiting"] == 3)
        # No connection answers any more.
        pool._url = pool._pool.conninfo = NOWHERE  # type: ignore[union-attr]
        connection.is_unanswered = True
        connection.close()
    for thread in waiting:
        thread.join(PATIENCE)
    assert released == ["known"] * 3


def test_serves_again_after_an_outage_on_new_connections(pool: Pool) -> None:
    with pool.connection() as before:
        with pool.connection() as unanswered:
            unanswered.is_unanswered = True
            unanswered.close()
        wait_until(lambda: not pool.breaker.is_open)
        # Other attempts may be in progress.
        assert before.execute("select 1").fetchone() == (1,)
        with pool.connection() as after:
            assert after not in (before, unanswered)
            assert after.execute("select 1").fetchone() == (1,)
    assert before.closed


def test_a_request_that_begins_to_wait_while_the_pool_is_closed_fails_soon(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(timeout=3 * PATIENCE)
    assert answers(pool)
    closed = pool._pool
    assert closed is not None
    closed.close()
    # The request behaves as if it had looked at the pool just before the breaker opened.
    monkeypatch.setattr(closed, "_check_open_getconn", lambda: None)
    ends = time.monotonic() + PATIENCE
    with pytest.raises(NoConnection) as refused, pool.connection():
        pass
    assert refused.value.is_logged
    assert time.monotonic() < ends


def test_one_thread_tries_whatever_goes_wrong_and_the_log_says_what_changes(caplog: pytest.LogCaptureFixture) -> None:
    attempts = []

    def attempt() -> None:
        attempts.append(threading.current_thread())
        if len(attempts) < 4:
            raise RuntimeError("no psycopg.Error")

    breaker = CircuitBreaker("test", attempt)
    for _ in range(5):
        breaker.open("a reason")
    wait_until(lambda: "database reachable again" in caplog.messages)
    expected = ["database reachable again", "database still unreachable", "database unreachable"]
    assert sorted(caplog.messages) == expected
    assert not breaker.is_open
    assert len(attempts) == 4
    assert len(set(attempts)) == 1
