"""A server whose clock differs from the database's by more than the leeway refuses requests, and logs that once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient
from psycopg.rows import namedtuple_row

from agentidp.config import ConfigurationError
from agentidp.db.clock_check import LEEWAY, MAX_ROUND_TRIP, ClockCheck, ClockDiffers, measure_seconds_ahead
from agentidp.db.database import connect
from tests.factories import PATIENCE, ROOT, SECRET_KEY, clean_environment
from tests.helpers.fake_clock import FakeClock

HOUR = 3600
WRONG = "this machine's clock is {} the database's; at most 10 seconds are allowed"


@pytest.fixture
def fake_clock(tmp_path: Path) -> FakeClock:
    """Return a clock without a difference."""
    return FakeClock(tmp_path / "clock")


@pytest.mark.program
def test_does_not_start_with_a_wrong_clock(database_url: str, fake_clock: FakeClock) -> None:
    fake_clock.set(45)
    environment = clean_environment() | {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
    command, environment = [sys.executable, "-m", "agentidp", "serve"], environment | fake_clock.environment
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    message = f"Error: {WRONG.format('45 seconds ahead of')}\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", message)


@pytest.mark.parametrize(("ahead", "words"), [(LEEWAY + 1, "11 seconds ahead of"), (-3600.0, "3600 seconds behind")])
def test_no_command_connects_with_a_wrong_clock(
    database_url: str, monkeypatch: pytest.MonkeyPatch, ahead: float, words: str
) -> None:
    monkeypatch.setattr("agentidp.db.database.measure_seconds_ahead", lambda _: ahead)
    with pytest.raises(ConfigurationError) as refused:
        connect(database_url)
    assert str(refused.value) == WRONG.format(words)


def test_a_service_with_a_wrong_clock_refuses_what_needs_the_database(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/faults/test_clocks.py sets the clocks of servers under load."""
    monkeypatch.setattr("agentidp.db.clock_check.measure_seconds_ahead", lambda _: LEEWAY + 1)
    assert [client.get(path).status_code for path in ("/readyz", "/healthz")] == [503, 200]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True, row_factory=namedtuple_row) as connection:
        yield connection


class TestMeasurement:
    """When the clocks are compared, and which results are used."""

    def test_refuses_beyond_the_leeway_and_says_so_at_each_change(
        self, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        check, refused = ClockCheck(), []
        for ahead in (8.0, -LEEWAY, LEEWAY, LEEWAY + 0.1, 3600.0, None, -8.0, -LEEWAY - 0.1):
            monkeypatch.setattr("agentidp.db.clock_check.measure_seconds_ahead", lambda _, ahead=ahead: ahead)
            check.measure(connection)
            try:
                check.check(connection)
                refused.append(False)
            except ClockDiffers:
                refused.append(True)
        assert refused == [False, False, False, True, True, True, False, True]
        # One log line per change of the state, not per request.
        log_lines = [(record.levelname, record.fields["seconds_ahead"]) for record in caplog.records]  # type: ignore[attr-defined]
        assert log_lines == [("ERROR", 10.1), ("WARNING", -8.0), ("ERROR", -10.1)]

    def test_takes_the_round_trip_into_account(self, connection: psycopg.Connection[Any]) -> None:
        ahead = measure_seconds_ahead(connection)
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
        monkeypatch.setattr("agentidp.db.clock_check.measure_seconds_ahead", lambda _: measured.append(1) or 0.0)
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
