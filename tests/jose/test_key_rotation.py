"""The operator's commands for signing keys, the limits of a database writer, and the encryption of stored keys."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask.testing import FlaskClient

from agentidp.clock import utc_now
from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import SERVICE_ROLE
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.migrations import migrate
from agentidp.jose import signing_keys
from agentidp.jose.access_token import SigningKey
from agentidp.jose.key_rotation import describe_keys, ensure_signing_key, reencrypt_keys, revoke_key, rotate_keys
from agentidp.services import Services
from tests.conftest import Cast, settings_for
from tests.factories import SECRET_KEY, Clock, execute, wait_until
from tests.helpers.introspection import INACTIVE, introspect
from tests.jose.test_signing_keys import keys_of
from tests.oauth.clients import application, process

NEW_SECRET = SECRET_KEY.swapcase()


def statuses(url: str) -> dict[str, str]:
    """Return each key with its status, the newest first."""
    return {key["kid"]: key["status"] for key in describe_keys(settings_for(url), at=utc_now())}


class TestFirstKey:
    """If many processes start with an empty database, one of them makes the key."""

    def test_many_threads(self, empty_database_url: str) -> None:
        migrate(empty_database_url)
        barrier = threading.Barrier(8)

        def start(_: int) -> None:
            barrier.wait()
            ensure_signing_key(settings_for(empty_database_url), at=utc_now())

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(start, range(8)))
        assert list(statuses(empty_database_url).values()) == ["signing"]

    def test_a_server_makes_none(self, empty_database_url: str) -> None:
        migrate(empty_database_url)
        with process(empty_database_url, utc_now) as client:
            assert client.get("/.well-known/jwks.json").status_code == 503
        assert statuses(empty_database_url) == {}


@pytest.mark.parametrize(("alg", "kind", "public"), [("ES256", "EC", {"crv", "x", "y"}), ("RS256", "RSA", {"n", "e"})])
def test_the_public_half_is_published_and_the_private_one_encrypted_at_rest(
    empty_database_url: str, alg: str, kind: str, public: set[str]
) -> None:
    migrate(empty_database_url)
    ensure_signing_key(settings_for(empty_database_url, signing_alg=alg), at=utc_now())
    with keys_of(empty_database_url) as keys:
        private_key, [key] = keys.current().signing.private_key, keys.current().jwks["keys"]
    assert (key.keys(), key["kty"], key["alg"], key["use"]) == ({"kty", "kid", "alg", "use"} | public, kind, alg, "sig")
    assert private_key.key_size == {"ES256": 256, "RS256": 2048}[alg]
    [(row, sealed)] = execute(empty_database_url, "select k::text, private_key_encrypted from signing_keys k")
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


class TestDatabaseWriter:
    """A person who can write to the database but has no instance secret cannot make an accepted token."""

    @pytest.fixture
    def attacker(self, services: Services) -> SigningKey:
        """A key of the attacker with the kid of our key."""
        kid = services.keys.current().signing.kid
        return SigningKey(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))

    @pytest.mark.parametrize(
        "statement",
        [
            "insert into signing_keys select 'x', alg, ''::bytea, now(), now() from signing_keys",
            "update signing_keys set alg = 'RS256'",
            "delete from signing_keys",
        ],
    )
    def test_the_services_role_only_reads(self, database_url: str, statement: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(f"set role {SERVICE_ROLE}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())

    def test_an_algorithm_in_the_database_is_not_trusted(
        self, database_url: str, services: Services, cast: Cast, clock: Clock, attacker: SigningKey
    ) -> None:
        genuine = services.keys.current().jwks
        execute(database_url, "update signing_keys set alg = 'RS256'")
        forged = cast.outsider.bearer(key=attacker, organization_id=cast.acme.organization_id)
        with application(services.settings, clock) as client:
            assert client.get("/.well-known/jwks.json").json == genuine
            assert client.get("/api/v1/agents", headers=forged).status_code == 401
            assert client.get("/api/v1/agents", headers=cast.acme.bearer()).status_code == 200

    def test_a_key_that_was_put_there_is_ignored_and_logged(
        self,
        database_url: str,
        services: Services,
        cast: Cast,
        clock: Clock,
        attacker: SigningKey,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        genuine, own = services.keys.current(), replace(attacker, kid="attackers")
        execute(database_url, "insert into signing_keys values ('attackers', 'ES256', %s, now(), now())", b"x" * 200)
        with application(services.settings, clock) as client, caplog.at_level(logging.ERROR):
            assert client.get("/.well-known/jwks.json").json == genuine.jwks
            assert client.get("/api/v1/agents", headers=cast.acme.bearer(key=own)).status_code == 401
            assert client.application.extensions["agentidp"].keys.current().signing.kid == genuine.signing.kid
        [record] = [record for record in caplog.records if "ignored" in record.message]
        assert record.message == "a signing key is ignored: the instance secret does not decrypt it"
        assert record.fields == {"kid": "attackers"}  # type: ignore[attr-defined]
        assert statuses(database_url) == {"attackers": "unreadable", genuine.signing.kid: "signing"}
        # The key can be revoked like any other, and the key that signs stays the same.
        assert revoke_key(services.settings, "attackers", at=utc_now()) is None
        assert statuses(database_url) == {"attackers": "revoked", genuine.signing.kid: "signing"}

    def test_rows_cannot_be_swapped(self, database_url: str) -> None:
        settings = settings_for(database_url)
        rotate_keys(settings, at=utc_now())
        execute(
            database_url,
            "update signing_keys a set private_key_encrypted = b.private_key_encrypted "
            "from signing_keys b where a.kid <> b.kid",
        )
        with pytest.raises(ConfigurationError, match=r"^AGENTIDP_SECRET_KEY does not decrypt"):
            ensure_signing_key(settings, at=utc_now())
        with keys_of(database_url) as keys, pytest.raises(DatabaseUnavailable):
            keys.current()

    def test_a_revoked_key_does_not_come_back(self, database_url: str) -> None:
        [first] = statuses(database_url)
        new = revoke_key(settings_for(database_url), first, at=utc_now())
        execute(database_url, "update signing_keys set revoked_at = null")
        with keys_of(database_url) as keys:
            assert list(keys.current().published) == [new]


class TestRevoke:
    """``agentidp keys revoke``."""

    def test_the_key_that_signs_is_replaced_at_once(self, database_url: str) -> None:
        settings, now = settings_for(database_url), utc_now()
        [first] = statuses(database_url)
        new = revoke_key(settings, first, at=now)
        with keys_of(database_url) as keys:
            assert keys.current().signing.kid == new
            assert list(keys.current().published) == [new]
            assert keys.find_key(first) is None
        # The private half is deleted. Revoking the key again changes nothing.
        [(sealed,)] = execute(database_url, "select private_key_encrypted from signing_keys where kid = %s", first)
        assert sealed == b""
        assert revoke_key(settings, first, at=now) is None
        assert statuses(database_url) == {new: "signing", first: "revoked"}

    def test_a_key_that_does_not_sign_just_goes(self, database_url: str) -> None:
        settings, now = settings_for(database_url), utc_now()
        [first] = statuses(database_url)
        upcoming = rotate_keys(settings, at=now)
        assert revoke_key(settings, upcoming, at=now) is None
        assert statuses(database_url) == {upcoming: "revoked", first: "signing"}
        second = rotate_keys(settings, at=now, signs_from=now)
        assert statuses(database_url)[first] == "verifying"
        assert revoke_key(settings, first, at=now) is None
        assert statuses(database_url) == {upcoming: "revoked", second: "signing", first: "revoked"}

    def test_a_token_that_a_process_remembers_is_refused(
        self, client: FlaskClient, services: Services, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signing_keys, "CACHE_SECONDS", 0.1)
        old = cast.acme.bearer()
        assert [client.get("/api/v1/agents", headers=old).status_code for _ in range(2)] == [200, 200]
        first = services.keys.current().signing.kid
        revoke_key(services.settings, first, at=utc_now())
        wait_until(lambda: services.keys.current().signing.kid != first)
        assert client.get("/api/v1/agents", headers=old).status_code == 401
        assert introspect(client, cast.acme, old["Authorization"].partition(" ")[2]).json == INACTIVE
        assert first not in client.get("/.well-known/jwks.json").text
        assert client.get("/api/v1/agents", headers=cast.acme.bearer()).status_code == 200


@pytest.mark.slow
class TestReencrypt:
    """``agentidp keys reencrypt``: another instance secret, without a pause."""

    def settings(self, url: str, secret: str, previous: str | None = None) -> Settings:
        """Return the settings of a server with an instance secret, and possibly the previous secret."""
        return settings_for(
            url, secret_key=secret.encode(), secret_key_previous=previous.encode() if previous else None
        )

    def jwks(self, settings: Settings) -> Any:
        """Return the JWKS that a new server with *settings* publishes."""
        with application(settings, utc_now) as client:
            response = client.get("/.well-known/jwks.json")
            assert response.status_code == 200
            return response.json

    def test_the_whole_walk(
        self, client: FlaskClient, services: Services, cast: Cast, clock: Clock, database_url: str
    ) -> None:
        token = cast.acme.bearer()
        rotate_keys(services.settings, at=utc_now())
        old, both, new = (
            self.settings(database_url, SECRET_KEY),
            self.settings(database_url, NEW_SECRET, SECRET_KEY),
            self.settings(database_url, NEW_SECRET),
        )
        before = self.jwks(old)
        # 1. Servers get the new secret and the previous one.
        ensure_signing_key(both, at=utc_now())
        assert self.jwks(both) == before
        # A key of the new algorithm is added to the keys of the old one.
        rotate_keys(both, at=utc_now())
        mixed = self.jwks(both)
        assert len(mixed["keys"]) == 3
        with pytest.raises(ConfigurationError, match=r"^AGENTIDP_SECRET_KEY does not decrypt"):
            ensure_signing_key(new, at=utc_now())
        # 2. All keys are encrypted again. A second run changes nothing.
        assert reencrypt_keys(both, at=utc_now()) == (2, 3)
        assert reencrypt_keys(both, at=utc_now()) == (0, 3)
        # 3. The previous secret is no longer needed, and decrypts no key.
        ensure_signing_key(new, at=utc_now())
        assert self.jwks(new) == self.jwks(both) == mixed
        with pytest.raises(ConfigurationError, match=r"^AGENTIDP_SECRET_KEY does not decrypt"):
            ensure_signing_key(old, at=utc_now())
        # A server that was not restarted goes on, and every server accepts an older token.
        services.keys._read_at = float("-inf")
        assert client.get("/api/v1/agents", headers=token).status_code == 200
        with application(new, clock) as changed:
            assert changed.get("/api/v1/agents", headers=token).status_code == 200

    def test_a_key_that_neither_secret_opens_is_named_and_nothing_is_changed(self, database_url: str) -> None:
        both = self.settings(database_url, NEW_SECRET, SECRET_KEY)
        [first] = statuses(database_url)
        rotate_keys(settings_for(database_url), at=utc_now())
        # The newest key is encrypted again before this key is read.
        execute(database_url, "update signing_keys set private_key_encrypted = %s where kid = %s", b"x" * 99, first)
        before = execute(database_url, "select * from signing_keys order by kid")
        with pytest.raises(ConfigurationError) as refused:
            reencrypt_keys(both, at=utc_now())
        assert str(refused.value) == (
            "neither AGENTIDP_SECRET_KEY nor AGENTIDP_SECRET_KEY_PREVIOUS decrypts the signing key "
            f"{first!r}: nothing was changed"
        )
        assert execute(database_url, "select * from signing_keys order by kid") == before
        # Once this key is revoked, the other keys can be encrypted again.
        revoke_key(both, first, at=utc_now())
        assert reencrypt_keys(both, at=utc_now()) == (1, 1)
