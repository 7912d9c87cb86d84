"""Wrong clocks under load: a little wrong, a server serves; more, it issues nothing and disturbs no other."""

from __future__ import annotations

import time
from collections.abc import Iterator

import jwt
import pytest

from agentidp.db.embedded_postgres import EmbeddedPostgres
from tests.factories import Server, ServerWithoutLauncher, wait_until
from tests.faults.load import Connection, Fleet
from tests.faults.rig import environment, run
from tests.helpers.fake_clock import FakeClock

CLOCK_CACHE = 1
"""Seconds within which each process of the second server notices that its clock was set."""


@pytest.fixture(scope="module")
def fake_clock(tmp_path_factory: pytest.TempPathFactory) -> FakeClock:
    """The clock of the second server."""
    return FakeClock(tmp_path_factory.mktemp("clock") / "clock")


@pytest.fixture(scope="module")
def pair(cluster: EmbeddedPostgres, fake_clock: FakeClock) -> Iterator[list[Server]]:
    """A server with a correct clock, and a server whose clock the test sets."""
    url = cluster.start().url
    # To read the clock's file whenever the time is read would slow the server even more than libfaketime does.
    fake = {**fake_clock.environment, "FAKETIME_NO_CACHE": "0", "FAKETIME_CACHE_DURATION": str(CLOCK_CACHE)}
    with ServerWithoutLauncher(environment(url)) as healthy, ServerWithoutLauncher(environment(url, **fake)) as second:
        yield [healthy, second]


def ready_status(server: Server) -> int | None:
    """The status of /readyz."""
    connection = Connection(server.port)
    answer = connection.ask("/readyz", "GET", "/readyz")
    connection.close()
    return answer.status


def set_clock(fake_clock: FakeClock, seconds_ahead: int, server: Server, message: str) -> None:
    """Set a server's clock, and ask until each of its two workers has logged the message that it does when it notices.
    A worker that has just looked at its clock keeps the old time for a moment, and one that has not looked for a while
    gets it once more.
    """
    before = server.logs().count(message)
    fake_clock.set(seconds_ahead)
    wait_until(lambda: ready_status(server) and server.logs().count(message) == before + 2)


@pytest.mark.parametrize(("row", "ahead"), [("clock 8 s ahead", 8), ("clock 8 s behind", -8)])
def test_small_difference(
    postgres: EmbeddedPostgres, pair: list[Server], fake_clock: FakeClock, row: str, ahead: int
) -> None:
    """Both serve, and each accepts the other's tokens: every client reads at the server that did not issue."""

    def fault(_: Fleet) -> None:
        fake_clock.set(ahead)
        time.sleep(CLOCK_CACHE + 2)
        fake_clock.set(0)
        time.sleep(CLOCK_CACHE)

    answers = run(row, postgres.url, pair, fault)
    boot = time.time() - time.monotonic()
    unverified = {"verify_signature": False}
    issued = [(jwt.decode(one.token, options=unverified)["iat"] - boot, one) for one in answers if one.token]
    off = [instant for instant, answer in issued if not answer.began - 3 < instant < answer.ended + 3]
    assert 0 < len(off) < len(issued)


# How far a clock may be off is in tests/db/test_clock_check.py.
@pytest.mark.parametrize(("row", "ahead"), [("clock 45 s ahead", 45), ("clock 1 h behind", -3600)])
def test_large_difference(
    postgres: EmbeddedPostgres, pair: list[Server], fake_clock: FakeClock, row: str, ahead: int
) -> None:
    """The second server issues nothing. Clients of the other one are not refused, nor throttled."""
    healthy, second = pair
    statuses = set()

    def fault(fleet: Fleet) -> None:
        try:
            set_clock(fake_clock, ahead, second, "clock differs from the database's: requests are refused")
            connection = Connection(second.port)
            for turn in range(40):
                client = fleet.clients[turn % len(fleet.clients)]
                body, headers = client.token_request(turn)
                statuses.add(connection.ask("token", "POST", "/api/v1/token", body, headers).status)
                statuses.add(ready_status(second))
            connection.close()
            set_clock(fake_clock, 0, second, "clock agrees with the database's again")
        finally:
            fake_clock.set(0)
        assert ready_status(second) == 200

    run(row, postgres.url, [healthy], fault)
    assert statuses == {503}
