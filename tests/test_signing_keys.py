"""The signing keys: made once, encrypted, published before they sign, retired after their tokens have expired."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from flask import Flask
from flask.testing import FlaskClient

from agentidp import create_app
from agentidp.config import MAXIMUM_TOKEN_TTL, ConfigurationError, Settings
from agentidp.database import Database, migrate
from agentidp.runtime import prepared
from agentidp.services import Services
from agentidp.signing_keys import (
    CACHE_SECONDS,
    JWKS_MAX_AGE,
    PUBLISH_AHEAD,
    RETIRE_AFTER,
    SigningKeys,
    published,
    signing_row,
)
from agentidp.tokens import LEEWAY

from .conftest import Cast, settings_for
from .factories import NOON, ROOT, SECRET_KEY

MICROSECOND = timedelta(microseconds=1)


@contextlib.contextmanager
def keys_of(url: str, **settings: Any) -> Iterator[SigningKeys]:
    """The keys as one process of ours sees them."""
    chosen = settings_for(url, **settings)
    database = Database(url, chosen)
    try:
        yield SigningKeys(database, chosen)
    finally:
        database.close()


class TestRotation:
    """Three keys, made a day after one another; the newest first, as the database gives them."""

    rows = [SimpleNamespace(kid=kid, signs_from=NOON + timedelta(days=30 * n)) for n, kid in enumerate("abc")][::-1]

    @pytest.mark.parametrize(
        ("at", "signing"),
        [
            (NOON - timedelta(days=1), "a"),  # A clock that is behind the first key's: there is no other.
            (NOON, "a"),
            (NOON + timedelta(days=30) - MICROSECOND, "a"),
            (NOON + timedelta(days=30), "b"),
            (NOON + timedelta(days=60) - MICROSECOND, "b"),
            (NOON + timedelta(days=60), "c"),
            (NOON + timedelta(days=6000), "c"),
        ],
    )
    def test_a_key_signs_from_its_instant_until_the_next_ones(self, at: datetime, signing: str) -> None:
        assert signing_row(self.rows, at).kid == signing

    @pytest.mark.parametrize(
        ("at", "kids"),
        [
            (NOON, "cba"),
            (NOON + timedelta(days=30) + RETIRE_AFTER - MICROSECOND, "cba"),
            (NOON + timedelta(days=30) + RETIRE_AFTER, "cb"),
            (NOON + timedelta(days=60) + RETIRE_AFTER - MICROSECOND, "cb"),
            (NOON + timedelta(days=60) + RETIRE_AFTER, "c"),
            (NOON + timedelta(days=6000), "c"),
        ],
    )
    def test_a_key_is_published_until_what_it_signed_has_expired(self, at: datetime, kids: str) -> None:
        assert "".join(row.kid for row in published(self.rows, at)) == kids

    def test_what_signs_is_published(self) -> None:
        for hours in range(0, 24 * 100, 7):
            at = NOON + timedelta(hours=hours)
            assert signing_row(self.rows, at) in published(self.rows, at)

    def test_the_times_leave_room_for_every_cache_and_every_token(self) -> None:
        assert PUBLISH_AHEAD.total_seconds() > JWKS_MAX_AGE + CACHE_SECONDS
        assert RETIRE_AFTER.total_seconds() > MAXIMUM_TOKEN_TTL + LEEWAY + CACHE_SECONDS

    def test_a_client_that_keeps_the_jwks_for_ten_minutes_never_meets_a_key_it_lacks(self) -> None:
        rotated = [NOON, NOON + timedelta(days=30), NOON + timedelta(days=30, minutes=1)]
        rows = [
            SimpleNamespace(kid=kid, made=at, signs_from=at + PUBLISH_AHEAD)
            for kid, at in zip("abc", rotated, strict=True)
        ][::-1]
        rows[-1].signs_from = NOON
        # The answer that the client keeps may itself be as old as a process keeps the keys.
        age = timedelta(seconds=JWKS_MAX_AGE + CACHE_SECONDS)
        for seconds in range(0, 86_400, 30):
            at = rotated[1] - timedelta(hours=1) + timedelta(seconds=seconds)
            signing = signing_row([row for row in rows if row.made <= at], at)
            kept = [row for row in rows if row.made <= at - age]
            assert signing in published(kept, at - age)

    def test_publish_then_sign_then_retire(self, database_url: str) -> None:
        now = datetime.now(UTC)
        with keys_of(database_url) as keys, keys_of(database_url) as another_process:
            first = another_process.current().signing.kid
            second = keys.rotate(at=now)
            # Published, and a process that has not heard of it finds it, but it does not sign yet.
            assert keys.current().signing.kid == first
            assert [key["kid"] for key in keys.current().jwks["keys"]] == [second, first]
            statuses = {
                at: {key["kid"]: key["status"] for key in keys.describe(at=at)}
                for at in (
                    now,
                    now + PUBLISH_AHEAD - MICROSECOND,
                    now + PUBLISH_AHEAD,
                    now + PUBLISH_AHEAD + RETIRE_AFTER - MICROSECOND,
                    now + PUBLISH_AHEAD + RETIRE_AFTER,
                )
            }
        assert list(statuses.values()) == [
            {second: "next", first: "signing"},
            {second: "next", first: "signing"},
            {second: "signing", first: "verifying"},
            {second: "signing", first: "verifying"},
            {second: "signing", first: "retired"},
        ]

    def test_every_process_changes_over_at_the_instant(self, database_url: str) -> None:
        with keys_of(database_url) as keys, keys_of(database_url) as another_process:
            first = keys.current().signing.kid
            changes_at = datetime.now(UTC) + timedelta(seconds=0.5)
            second = keys.rotate(at=datetime.now(UTC), signs_from=changes_at)
            seen: dict[str, list[datetime]] = {first: [], second: []}
            deadline = time.monotonic() + 5
            while not all(seen.values()):
                assert time.monotonic() < deadline
                for process in (keys, another_process):
                    seen[process.current().signing.kid].append(datetime.now(UTC))
        assert max(seen[first]) < changes_at + timedelta(milliseconds=50)
        assert min(seen[second]) >= changes_at

    def test_a_retired_key_verifies_nothing(self, database_url: str) -> None:
        with keys_of(database_url) as keys:
            first = keys.current().signing.kid
            long_ago = datetime.now(UTC) - RETIRE_AFTER
            second = keys.rotate(at=long_ago, signs_from=long_ago)
            with psycopg.connect(database_url) as connection:
                connection.execute("update signing_keys set signs_from = '2020-01-01' where kid = %s", [first])
        with keys_of(database_url) as keys:
            assert (keys.find(first), [key["kid"] for key in keys.current().jwks["keys"]]) == (None, [second])


def test_many_that_start_on_an_empty_database_make_one_key(empty_database_url: str) -> None:
    migrate(empty_database_url)
    barrier, seen = threading.Barrier(8), []

    def start() -> None:
        with keys_of(empty_database_url) as keys:
            barrier.wait()
            seen.append(keys.current().signing.kid)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with psycopg.connect(empty_database_url) as connection:
        stored = connection.execute("select kid from signing_keys").fetchall()
    assert len(seen) == 8
    assert stored == [(kid,) for kid in set(seen)]


def test_eight_processes_on_an_empty_database_make_one_key(empty_database_url: str) -> None:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AGENTIDP_")},
        "AGENTIDP_DATABASE_URL": empty_database_url,
        "AGENTIDP_SECRET_KEY": SECRET_KEY,
    }
    command = [sys.executable, "-m", "agentidp", "keys", "list", "--json"]
    processes = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert [len(keys) for keys in answers] == [1] * 8
    assert len({keys[0]["kid"] for keys in answers}) == 1


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_private_keys_are_encrypted_at_rest(empty_database_url: str, alg: str) -> None:
    migrate(empty_database_url)
    with keys_of(empty_database_url, signing_alg=alg) as keys:
        private_key = keys.current().signing.private_key
    with psycopg.connect(empty_database_url) as connection:
        [(row, sealed)] = connection.execute("select k::text, private_key_encrypted from signing_keys k").fetchall()
    with pytest.raises(ValueError, match=r"."):
        serialization.load_der_private_key(sealed, None)
    numbers = private_key.private_numbers()
    secret = numbers.private_value if alg == "ES256" else numbers.d
    raw = secret.to_bytes((secret.bit_length() + 7) // 8, "big")
    for encoding in (serialization.Encoding.DER, serialization.Encoding.PEM):
        plain = private_key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        assert plain not in sealed
        assert plain.hex() not in row
    assert raw not in sealed
    assert raw.hex() not in row
    assert "PRIVATE" not in row


def test_a_key_is_sealed_with_its_kid_so_that_rows_cannot_be_swapped(database_url: str) -> None:
    with keys_of(database_url) as keys:
        keys.rotate(at=datetime.now(UTC))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update signing_keys a set private_key_encrypted = b.private_key_encrypted "
            "from signing_keys b where a.kid <> b.kid"
        )
    with (
        keys_of(database_url) as keys,
        pytest.raises(ConfigurationError, match=r"^AGENTIDP_SECRET_KEY does not decrypt"),
    ):
        keys.current()


def test_a_wrong_secret_refuses_start_up_with_one_sentence(database_url: str) -> None:
    settings = settings_for(database_url, secret_key=b"another secret that nobody knows of")
    with pytest.raises(ConfigurationError) as refused, prepared(settings):
        pass
    assert str(refused.value) == (
        "AGENTIDP_SECRET_KEY does not decrypt this database's signing keys: "
        "set the secret that the instance was started with"
    )


def test_no_secret_refuses_start_up(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^AGENTIDP_SECRET_KEY \(or AGENTIDP_SECRET_KEY_FILE\) must be set"):
        create_app(settings_for(database_url, secret_key=None))


class TestJwks:
    """``GET /.well-known/jwks.json``."""

    def test_publishes_the_public_half_only(self, client: FlaskClient) -> None:
        response = client.get("/.well-known/jwks.json")
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == f"public, max-age={JWKS_MAX_AGE}"
        [key] = response.json["keys"]
        assert set(response.json) == {"keys"}
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")

    def test_of_rs256(self, empty_database_url: str) -> None:
        migrate(empty_database_url)
        with keys_of(empty_database_url, signing_alg="RS256") as keys:
            [key] = keys.current().jwks["keys"]
            assert keys.current().signing.private_key.key_size == 2048
        assert set(key) == {"kty", "n", "e", "kid", "alg", "use"}
        assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")


def test_tokens_survive_a_change_of_algorithm(app: Flask, services: Services, cast: Cast) -> None:
    old = cast.acme.bearer()
    settings: Settings = replace(services.settings, signing_alg="RS256")
    with contextlib.closing(Database(str(settings.database_url), settings)) as database:
        now = datetime.now(UTC)
        rs256 = SigningKeys(database, settings).rotate(at=now, signs_from=now)
    changed = create_app(settings, clock=services.clock)
    try:
        client = changed.test_client()
        cast.acme.services = changed.extensions["agentidp"]
        new = cast.acme.bearer()
        header = jwt.get_unverified_header(new["Authorization"].removeprefix("Bearer "))
        assert (header["alg"], header["kid"]) == ("RS256", rs256)
        assert [client.get("/api/v1/agents", headers=token).status_code for token in (old, new)] == [200, 200]
        # A process that still has ES256 in its settings, and has never seen the new key, verifies it as well.
        assert create_and_get(services.settings, services, new) == 200
    finally:
        changed.extensions["agentidp"].close()


def create_and_get(settings: Settings, services: Services, token: dict[str, str]) -> int:
    """The status of a request to a new process with *settings*."""
    app = create_app(settings, clock=services.clock)
    try:
        return app.test_client().get("/api/v1/agents", headers=token).status_code
    finally:
        app.extensions["agentidp"].close()
