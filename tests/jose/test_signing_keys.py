"""Which signing keys sign and verify when, and how a process goes on without a database."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient

from agentidp.clock import utc_now
from agentidp.config import MAX_TOKEN_TTL, Settings
from agentidp.db.database import Database
from agentidp.db.errors import DatabaseUnavailable
from agentidp.jose import signing_keys
from agentidp.jose.access_token import LEEWAY
from agentidp.jose.key_rotation import describe_keys, revoke_key, rotate_keys
from agentidp.jose.signing_keys import (
    CACHE_SECONDS,
    JWKS_MAX_AGE,
    PUBLISH_AHEAD,
    RETIRE_AFTER,
    SigningKeys,
    find_next_change,
    find_signing_row,
    select_published,
)
from agentidp.services import Services
from tests.conftest import Cast, settings_for
from tests.factories import NOON, PATIENCE, execute, wait_until
from tests.oauth.clients import application

DAY, MICROSECOND = timedelta(days=1), timedelta(microseconds=1)


@contextlib.contextmanager
def keys_of(url: str, **settings: Any) -> Iterator[SigningKeys]:
    """Return the keys as one of our processes reads them."""
    chosen = settings_for(url, **settings)
    database = Database(url, chosen)
    try:
        yield SigningKeys(database, chosen)
    finally:
        database.close()


def key_row(kid: str, signs_from: datetime, revoked_at: datetime | None = None) -> SimpleNamespace:
    """Return a row of the table with the columns that decide when a key signs and verifies."""
    return SimpleNamespace(kid=kid, signs_from=signs_from, revoked_at=revoked_at)


class TestRotation:
    """Three keys, one created per day, the newest first, as the database returns them."""

    rows = [key_row(kid, NOON + 30 * n * DAY) for n, kid in enumerate("abc")][::-1]

    @pytest.mark.parametrize(
        ("after", "signing", "kids"),
        [
            (-DAY, "a", "cba"),  # The clock is behind the clock that created the first key, but there is no other key.
            (0 * DAY, "a", "cba"),
            (30 * DAY - MICROSECOND, "a", "cba"),
            (30 * DAY, "b", "cba"),
            (30 * DAY + RETIRE_AFTER - MICROSECOND, "b", "cba"),
            (30 * DAY + RETIRE_AFTER, "b", "cb"),
            (60 * DAY - MICROSECOND, "b", "cb"),
            (60 * DAY, "c", "cb"),
            (60 * DAY + RETIRE_AFTER - MICROSECOND, "c", "cb"),
            (60 * DAY + RETIRE_AFTER, "c", "c"),
            (6000 * DAY, "c", "c"),
        ],
    )
    def test_a_key_signs_until_the_next_one_and_is_published_until_what_it_signed_has_expired(
        self, after: timedelta, signing: str, kids: str
    ) -> None:
        assert find_signing_row(self.rows, NOON + after).kid == signing
        assert "".join(row.kid for row in select_published(self.rows, NOON + after)) == kids

    def test_the_times_leave_room_for_every_cache_and_every_token(self) -> None:
        assert PUBLISH_AHEAD.total_seconds() > JWKS_MAX_AGE + CACHE_SECONDS
        assert RETIRE_AFTER.total_seconds() > MAX_TOKEN_TTL + LEEWAY + CACHE_SECONDS

    def test_the_schedule_says_when_it_changes_next(self) -> None:
        instants = [NOON + 30 * n * DAY + after for after in (timedelta(0), RETIRE_AFTER) for n in range(3)]
        at = NOON - DAY
        for expected in sorted(instants):
            at = find_next_change(self.rows, at)
            assert at == expected
        assert find_next_change(self.rows, at).year == 9999

    def test_publish_then_sign_then_retire(self, database_url: str) -> None:
        now, settings = utc_now(), settings_for(database_url)
        [first] = [key["kid"] for key in describe_keys(settings, at=now)]
        second = rotate_keys(settings, at=now)
        with keys_of(database_url) as keys:
            assert keys.current().signing.kid == first
            assert [key["kid"] for key in keys.current().jwks["keys"]] == [second, first]
        for after, status, of_first in (
            (0 * DAY, "next", "signing"),
            (PUBLISH_AHEAD - MICROSECOND, "next", "signing"),
            (PUBLISH_AHEAD, "signing", "verifying"),
            (PUBLISH_AHEAD + RETIRE_AFTER - MICROSECOND, "signing", "verifying"),
            (PUBLISH_AHEAD + RETIRE_AFTER, "signing", "retired"),
        ):
            statuses = {key["kid"]: key["status"] for key in describe_keys(settings, at=now + after)}
            assert statuses == {second: status, first: of_first}

    def test_every_process_changes_over_at_the_instant(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        changes_at = utc_now() + timedelta(hours=1)
        second = rotate_keys(settings_for(database_url), at=utc_now(), signs_from=changes_at)

        class Clock(datetime):
            """A clock that only the test moves."""

            at = changes_at - MICROSECOND

            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return cls.at

        monkeypatch.setattr(signing_keys, "datetime", Clock)
        with keys_of(database_url) as keys, keys_of(database_url) as another_process:
            [first] = {keys.current().signing.kid, another_process.current().signing.kid}
            assert first != second
            # The keys in memory are enough, so neither process reads again.
            keys._read_at = another_process._read_at = float("inf")
            assert keys.current().signing.kid == first
            Clock.at = changes_at
            assert [keys.current().signing.kid, another_process.current().signing.kid] == [second, second]


A, C = key_row("a", NOON), key_row("c", NOON + 60 * DAY)
UNUSED = key_row("b", NOON + 30 * DAY, NOON + 30 * DAY - MICROSECOND)


@pytest.mark.parametrize(
    ("rows", "after", "signing", "kids"),
    [
        # A retired key stays retired if its successor is revoked.
        ([key_row("c", NOON + 90 * DAY), key_row("b", NOON + 30 * DAY, NOON + 90 * DAY), A], 90 * DAY, "c", "c"),
        # A key that was revoked before it signed retires no other key, and the previous key goes on signing.
        *[([UNUSED, A], days * DAY, "a", "a") for days in (29, 30, 60, 6000)],
        ([C, UNUSED, A], 60 * DAY, "c", "ca"),
        ([C, UNUSED, A], 60 * DAY + RETIRE_AFTER - MICROSECOND, "c", "ca"),
        ([C, UNUSED, A], 60 * DAY + RETIRE_AFTER, "c", "c"),
        # The successor of a key that would be retired was revoked by hand, and no key was made.
        ([key_row("b", NOON + 30 * DAY, NOON + 60 * DAY), A], 90 * DAY, "a", "a"),
    ],
)
def test_which_keys_sign_and_verify_once_one_of_them_is_revoked(
    rows: list[SimpleNamespace], after: timedelta, signing: str, kids: str
) -> None:
    assert find_signing_row(rows, NOON + after).kid == signing
    assert "".join(row.kid for row in select_published(rows, NOON + after)) == kids


class Readings:
    """Counts how often a process reads the keys, and can delay the reads."""

    def __init__(self, keys: SigningKeys, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.may_go_on = 0, threading.Event()
        self.may_go_on.set()
        fetch = keys._database.fetch_unscoped

        def counted(statement: str, /, **parameters: Any) -> Any:
            self.count += 1
            assert self.may_go_on.wait(PATIENCE)
            return fetch(statement, **parameters)

        monkeypatch.setattr(keys._database, "fetch_unscoped", counted)


class TestReading:
    """One thread at a time reads, while requests go on."""

    @pytest.fixture
    def keys(self, database_url: str) -> Iterator[SigningKeys]:
        """The keys of a process that has just started."""
        with keys_of(database_url) as keys:
            yield keys

    def test_no_request_waits_for_a_reading_that_is_due(
        self, keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A request that waits for the read waits longer than the test waits for the request.
        monkeypatch.setattr(signing_keys, "PATIENCE_SECONDS", 2 * PATIENCE)
        readings = Readings(keys, monkeypatch)
        known = keys.current()
        readings.may_go_on.clear()
        keys._read_at -= signing_keys.CACHE_SECONDS
        threads = [threading.Thread(target=keys.current) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)
        assert keys.current() is known
        wait_until(lambda: readings.count == 2)
        readings.may_go_on.set()
        wait_until(lambda: keys.current() is not known)
        assert readings.count == 2

    def test_a_process_that_has_never_read_them_is_unavailable_and_remembers_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with keys_of("postgresql://nobody@127.0.0.1:1/none", pool_timeout=0.1) as keys:
            readings = Readings(keys, monkeypatch)
            for call in (keys.current, keys.current, lambda: keys.find_key("nobodys")):
                with pytest.raises(DatabaseUnavailable):
                    call()
            assert readings.count == 1

    def test_a_process_without_requests_for_a_while_reads_before_it_responds(
        self, keys: SigningKeys, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signing_keys, "CACHE_SECONDS", 0.1)
        monkeypatch.setattr(signing_keys, "PATIENCE_SECONDS", 5)
        first = keys.current().signing.kid
        new = revoke_key(settings_for(database_url), first, at=utc_now())
        time.sleep(0.2)
        assert keys.current().signing.kid == new

    def test_invented_kids_cost_a_reading_a_second_at_most(
        self, keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        readings = Readings(keys, monkeypatch)
        keys.current()
        keys._attempted_at = float("-inf")
        begin = time.monotonic()
        for number in range(500):
            assert keys.find_key(f"invented-{number}") is None
        # One read at the start, one for the first unknown kid, and one more for each second of the test.
        took = time.monotonic() - begin
        wait_until(lambda: readings.count >= 2)
        assert readings.count <= 3 + took // signing_keys.MIN_REREAD_SECONDS

    def test_a_kid_that_another_process_has_just_made_is_found(
        self, keys: SigningKeys, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signing_keys, "PATIENCE_SECONDS", PATIENCE)
        keys.current()
        new = rotate_keys(settings_for(database_url), at=utc_now())
        time.sleep(signing_keys.MIN_REREAD_SECONDS)
        assert keys.find_key(new) is not None

    def test_a_process_that_can_start_no_thread_keeps_what_it_knows(
        self, keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = keys.current()

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            keys._read_at = time.monotonic() - signing_keys.CACHE_SECONDS
            assert keys.current() is known
        keys._retry_at = 0
        wait_until(lambda: keys.current() is not known)

    def test_keys_stay_in_force_if_their_rows_are_gone(
        self, keys: SigningKeys, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(signing_keys, "CACHE_SECONDS", 0.1)
        known = keys.current()
        execute(database_url, "delete from signing_keys")
        time.sleep(0.2)
        keys.current()
        wait_until(lambda: "no signing key can be used" in caplog.text)
        assert keys.current() is known


def test_the_public_half_is_published(client: FlaskClient, services: Services) -> None:
    response = client.get("/.well-known/jwks.json")
    assert (response.status_code, response.json) == (200, services.keys.current().jwks)
    assert response.headers["Cache-Control"] == f"public, max-age={JWKS_MAX_AGE}"
    assert [(name, len(keys)) for name, keys in response.json.items()] == [("keys", 1)]


def test_tokens_survive_a_change_of_algorithm(services: Services, cast: Cast) -> None:
    old = cast.acme.bearer()
    settings: Settings = replace(services.settings, signing_alg="RS256")
    now = utc_now()
    rs256 = rotate_keys(settings, at=now, signs_from=now)
    with application(settings, services.clock) as client:
        cast.acme.services = client.application.extensions["agentidp"]
        new = cast.acme.bearer()
        header = jwt.get_unverified_header(new["Authorization"].removeprefix("Bearer "))
        assert (header["alg"], header["kid"]) == ("RS256", rs256)
        assert [client.get("/api/v1/agents", headers=token).status_code for token in (old, new)] == [200, 200]
    # A process that still has ES256 in its settings, and has not read the new key yet, also verifies its tokens.
    with application(services.settings, services.clock) as other:
        assert other.get("/api/v1/agents", headers=new).status_code == 200
