"""A server whose clock differs from the database's by more than the leeway refuses to serve, and says so once."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from agentidp.clock import utc_now
from agentidp.db.clock_check import MAX_ROUND_TRIP, ClockCheck, ClockDiffers, seconds_ahead
from agentidp.services import Services
from tests.conftest import settings_for
from tests.factories import PATIENCE, ROOT, SECRET_KEY, Agent, Server, make_agent, make_organization

pytestmark = pytest.mark.program

[LIBFAKETIME] = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")) or ["install the Debian package faketime"]
HOUR = 3600


class FakeClock:
    """The clock of a process and its children, which the test sets while they run."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(LIBFAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds_ahead: int) -> None:
        """Set the clock; at once for whoever reads it next."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{seconds_ahead:+d}s\n")
        draft.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> FakeClock:
    """A clock that is right."""
    return FakeClock(tmp_path / "clock")


@pytest.fixture
def agent(database_url: str) -> Iterator[Agent]:
    """An agent of the database, registered now."""
    services = Services.of(settings_for(database_url), utc_now)
    yield make_agent(services, make_organization(services))
    services.close()


def environment(database_url: str, clock: FakeClock) -> dict[str, str]:
    """Of a server with one worker, whose clock can be set."""
    own = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY, "WEB_CONCURRENCY": "1"}
    own["AGENTIDP_ISSUER"] = "http://localhost:3000"  # as in settings_for
    return own | clock.environment


def statuses(server: Server, agent: Agent) -> dict[str, int]:
    """The status of a route that depends on nothing, of two that need the database, and of readiness."""
    basic = base64.b64encode(f"{agent.client_id}:{agent.client_secret}".encode()).decode()
    form = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
    found = {}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        for method, path, body, headers in (
            ("GET", "/healthz", None, {}),
            ("GET", "/readyz", None, {}),
            ("POST", "/api/v1/token", "grant_type=client_credentials", form),
            ("GET", "/api/v1/agents", None, agent.bearer()),
        ):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
            found[path] = response.status
    return found


SERVING = {"/healthz": 200, "/readyz": 200, "/api/v1/token": 200, "/api/v1/agents": 200}
REFUSING = {"/healthz": 200, "/readyz": 503, "/api/v1/token": 503, "/api/v1/agents": 503}


def test_serves_within_the_leeway_and_not_beyond_and_recovers_by_itself(
    database_url: str, agent: Agent, clock: FakeClock
) -> None:
    with Server(environment(database_url, clock)) as server:
        assert statuses(server, agent) == SERVING
        for ahead in (45, -45, HOUR, -HOUR):
            clock.set(ahead)
            assert statuses(server, agent) == REFUSING, ahead
            assert statuses(server, agent) == REFUSING, ahead
            right = 8 if ahead > 0 else -8
            clock.set(right)
            # A token is good for another server as long as their clocks differ by less than the leeway.
            assert statuses(server, agent) == SERVING, right
        lines = [json.loads(line) for line in server.logs().splitlines() if line.startswith("{")]
    said = [(line["level"], round(line["seconds_ahead"])) for line in lines if "seconds_ahead" in line]
    # One line at each change of state, and not one for each request.
    wrong = [ahead for level, ahead in said if level == "ERROR"]
    assert [round(ahead, -1) for ahead in wrong] == [round(ahead, -1) for ahead in (45, -45, HOUR, -HOUR)]
    assert [ahead for level, ahead in said if level == "WARNING"] == [8, -8, 8, -8]


@pytest.mark.parametrize(("ahead", "words"), [(45, "45 seconds ahead of"), (-HOUR, "3600 seconds behind")])
def test_does_not_start_with_a_wrong_clock(database_url: str, clock: FakeClock, ahead: int, words: str) -> None:
    clock.set(ahead)
    for command in (["serve"], ["keys", "list"], ["db", "migrate"]):
        ended = subprocess.run(
            [sys.executable, "-m", "agentidp", *command],
            env={k: v for k, v in os.environ.items() if not k.startswith("AGENTIDP_")}
            | environment(database_url, clock),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (ended.returncode, ended.stdout) == (1, "")
        expected = f"Error: this machine's clock is {words} the database's; at most 10 seconds are allowed"
        assert ended.stderr.splitlines() == [expected]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True, row_factory=namedtuple_row) as connection:
        yield connection


class TestMeasurement:
    """When the clocks are compared, and what counts."""

    def test_takes_the_round_trip_into_account(self, connection: psycopg.Connection[Any]) -> None:
        ahead = seconds_ahead(connection)
        assert ahead is not None
        assert abs(ahead) < MAX_ROUND_TRIP

    def test_is_ignored_if_it_took_too_long(
        self, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check = ClockCheck()
        check.check(connection)
        fast = time.time
        monkeypatch.setattr(time, "time", lambda: fast() + HOUR)
        slow = iter([0.0, 0.0, 100.0, 102.0])
        monkeypatch.setattr(time, "monotonic", lambda: next(slow))
        check.check(connection)
        monkeypatch.undo()
        monkeypatch.setattr(time, "time", lambda: fast() + HOUR)
        with pytest.raises(ClockDiffers):
            check.check(connection)

    def test_is_made_once_in_a_while_and_when_the_clock_was_set(
        self, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured = []
        monkeypatch.setattr("agentidp.db.clock_check.seconds_ahead", lambda _: measured.append(1) or 0.0)
        check = ClockCheck()
        for _ in range(1000):
            check.check(connection)
        assert len(measured) == 1
        fast = time.time
        monkeypatch.setattr(time, "time", lambda: fast() + 2)
        check.check(connection)
        check.check(connection)
        assert len(measured) == 2
        running = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: running() + 20)
        monkeypatch.setattr(time, "time", lambda: fast() + 22)
        check.check(connection)
        assert len(measured) == 3
