"""Of a quota of N tokens exactly N are issued: when PostgreSQL is killed meanwhile, and while a window ends."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import psycopg
import pytest

from agentidp.db.embedded_postgres import EmbeddedPostgres, programs, temporary
from tests.conftest import install, new_agent
from tests.factories import PATIENCE, Server, ServerWithoutLauncher, usage_sums, wait_until
from tests.faults.rig import environment
from tests.frozen import kill
from tests.helpers.fake_clock import FakeClock
from tests.helpers.load import FORM, Load, assert_counted, token_request
from tests.helpers.quota_sessions import set_quota

PAUSE = 0.02
"""Seconds between two requests of a client."""

MAX_REQUESTS = 20_000
"""Maximum number of requests of a load."""


class UntilRefused(Load):
    """Threads that request tokens until a quota refuses a token."""

    def has_enough(self, number: int) -> bool:
        """Whether a thread has ended."""
        time.sleep(PAUSE)
        return self.refused[429] > 0 or self.ended >= MAX_REQUESTS


@pytest.mark.usefixtures("midnight_is_far")
def test_postgresql_is_killed(postgres: EmbeddedPostgres, server: Server) -> None:
    """Every received token is counted, and the rest of the quota can be issued."""
    url, agent, quota = postgres.url, new_agent(postgres.url), 400
    set_quota(url, agent.organization_id, agent.agent_id, "month", quota)
    load = UntilRefused(server.port, [agent], 0).start()
    for threshold in (100, 250, 350):
        wait_until(lambda threshold=threshold: load.acknowledged >= threshold)
        kill(postgres.home)
        acknowledged = load.acknowledged
        wait_until(lambda: not postgres.is_running())
        postgres.start()
        assert acknowledged <= usage_sums(url, agent.organization_id)["tokens"] <= quota
    load.join()
    unknown = sum(load.lost) + load.refused[503]
    assert unknown > 0
    assert load.acknowledged <= quota <= load.acknowledged + unknown
    assert set(load.refused) == {429, 503}
    assert_counted(url, agent.organization_id, tokens=quota, requests=quota)


@pytest.fixture
def clock(directory: Path) -> FakeClock:
    """The clock of PostgreSQL and of a server."""
    return FakeClock(directory / "clock")


@pytest.fixture
def dated(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a PostgreSQL whose clock can be set."""
    for name, value in clock.environment.items():
        monkeypatch.setitem(programs.ENVIRONMENT, name, value)
    with temporary() as postgres:
        install(postgres.url)
        yield postgres.url


def test_a_day_ends(dated: str, clock: FakeClock, directory: Path) -> None:
    """The new window begins for the token whose ``iat`` is in it, also at a server whose clock is behind."""
    quota, behind = 5, FakeClock(directory / "behind")
    agent = new_agent(dated)
    set_quota(dated, agent.organization_id, agent.agent_id, "day", quota)
    headers = token_request(agent.client_id, agent.client_secret)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
    days: Counter[object] = Counter()

    def set_clocks(seconds_until_midnight: int) -> None:
        ahead = int(midnight.timestamp() - time.time()) - seconds_until_midnight
        clock.set(ahead)
        behind.set(ahead - 3)

    def request_token(server: Server) -> int | None:
        """Return the seconds until the next window if the quota refuses the token."""
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
            connection.request("POST", "/api/v1/token", FORM, headers)
            try:
                response = connection.getresponse()
            except OSError:
                print(right.logs()[-3000:], late.logs()[-3000:])
                raise
            body = json.loads(response.read())
        if response.status == 429:
            return int(response.headers["Retry-After"])
        if response.status == 200:
            claims = jwt.decode(body["access_token"], options={"verify_signature": False})
            days[datetime.fromtimestamp(claims["iat"], UTC).date()] += 1
        else:
            # The server responds with 503 until it has seen that both clocks were set.
            assert response.status == 503
        return None

    with (
        # Several workers would notice one after the other that the clock was set.
        ServerWithoutLauncher(environment(dated, WEB_CONCURRENCY="1", **clock.environment)) as right,
        ServerWithoutLauncher(environment(dated, WEB_CONCURRENCY="1", **behind.environment)) as late,
    ):
        # A slow machine, too, issues the first day's tokens before that day ends.
        set_clocks(600)
        for server in (right, late):
            wait_until(lambda server=server: request_token(server) is not None)
        set_clocks(2)
        waits: dict[Server, list[int]] = {right: [], late: []}
        end = time.monotonic() + PATIENCE
        while not all(seconds and seconds[-1] > 80_000 for seconds in waits.values()):
            assert time.monotonic() < end
            for server, seconds in waits.items():
                if retry_after := request_token(server):
                    seconds.append(retry_after)
            time.sleep(PAUSE)
    yesterday = midnight - timedelta(days=1)
    assert days == {yesterday.date(): quota, midnight.date(): quota}
    with psycopg.connect(dated) as connection:
        counted = connection.execute("select day, sum(tokens)::integer from agent_usage_daily group by day").fetchall()
    assert dict(counted) == days
    for seconds in waits.values():
        # It counts down to midnight, and from then on to the next one.
        before = [n for n in seconds if n < 80_000]
        assert before == sorted(before, reverse=True)
        assert all(1 <= n <= 6 for n in before)
        assert seconds[: len(before)] == before
