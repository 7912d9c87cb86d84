"""What can be used once: it is consumed by the authentic client's request only, and stays consumed after a crash."""

from __future__ import annotations

import json
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.clock import utc_now
from agentidp.config import LEEWAY
from agentidp.db.embedded_postgres import EmbeddedPostgres, temporary
from agentidp.db.migrations import migrate
from agentidp.jose.dpop import MAX_AGE
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.oauth import client_assertion
from agentidp.services import Services
from tests.citus import ADDS_A_TRIGGER, COMPARES_STATEMENTS
from tests.conftest import ON_CITUS_TOO, Cast, settings_for
from tests.factories import PATIENCE, Agent, Clock, make_agent, make_organization, usage_sums
from tests.oauth.test_dpop import ISSUER, TOKEN_URL, TREND, Holder, bound_token, call
from tests.routes import CLIENT_PATHS
from tests.wire import overheard

GRANT = {"grant_type": "client_credentials", "token": "none"}


def used(url: str) -> int:
    """How many identifiers have been consumed."""
    with psycopg.connect(url) as connection:
        [(number,)] = connection.execute("select count(*) from used_identifiers").fetchall()
        return int(number)


def ask(
    client: FlaskClient, form: dict[str, str], proof: str | None = None, path: str = CLIENT_PATHS[0]
) -> TestResponse:
    return client.post(path, data=GRANT | form, headers={"DPoP": proof} if proof else {})


def by_secret(agent: Agent, secret: str | None = None) -> dict[str, str]:
    return {"client_id": agent.client_id, "client_secret": secret or agent.client_secret}


def by_key(clock: Clock, client_id: str, key: Any, alg: str = "ES256", kid: str | None = None) -> dict[str, str]:
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": ISSUER,
        "exp": int(clock().timestamp()) + 60,
        "jti": uuid.uuid4().hex,
    }
    return {
        "client_assertion_type": client_assertion.TYPE,
        "client_assertion": jwt.encode(claims, key, alg, headers={"kid": kid} if kid is not None else {}),
    }


def register(client: FlaskClient, agent: Agent, keys: list[Any], **members: str) -> None:
    """Register public keys as one credential."""
    kind: Any = jwt.algorithms.RSAAlgorithm if isinstance(keys[0], rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    jwks = {"keys": [json.loads(kind.to_jwk(key.public_key())) | members for key in keys]}
    for jwk in jwks["keys"]:
        jwk.pop("key_ops", None)
    path = f"/api/v1/agents/{agent.client_id}/credentials"
    response = client.post(path, json={"jwks": jwks}, headers=agent.bearer())
    assert response.status_code == 201, response.json


@pytest.fixture
def holder(clock: Clock) -> Holder:
    return Holder(clock)


@pytest.fixture
def key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


class TestAProofAtTheTokenEndpoint:
    """It is consumed when a token is issued, and only then."""

    @ON_CITUS_TOO
    def test_is_not_consumed_by_who_is_not_authentic(
        self, client: FlaskClient, cast: Cast, holder: Holder, key: Any, clock: Clock, database_url: str
    ) -> None:
        proof = holder.proof("POST", TOKEN_URL)
        strangers = [
            by_secret(cast.acme, "wrong"),
            {"client_id": str(uuid.uuid4()), "client_secret": "wrong"},
            {"client_id": "nobody", "client_secret": "wrong"},
            by_key(clock, cast.acme.client_id, key),
            by_key(clock, str(uuid.uuid4()), key),
        ]
        for form in strangers:
            response = ask(client, form, proof)
            assert (response.status_code, response.json["error"]) == (401, "invalid_client")
        assert used(database_url) == 0
        assert ask(client, by_secret(cast.acme), proof).status_code == 200
        assert used(database_url) == 1
        # Nor does a replay tell anything to who is not authentic.
        for form in strangers:
            assert ask(client, form, proof).json["error"] in ("invalid_client", "temporarily_unavailable")
        assert used(database_url) == 1

    def test_is_not_consumed_where_no_token_is_issued(
        self, client: FlaskClient, cast: Cast, holder: Holder, database_url: str
    ) -> None:
        proof = holder.proof("POST", TOKEN_URL)
        assert ask(client, by_secret(cast.acme) | {"scope": "no:such"}, proof).json["error"] == "invalid_scope"
        unknown = by_secret(cast.acme) | {"resource": "https://nowhere.example"}
        assert ask(client, unknown, proof).json["error"] == "invalid_target"
        assert used(database_url) == 0
        assert ask(client, by_secret(cast.acme), proof).status_code == 200

    @ON_CITUS_TOO
    def test_that_was_used_before_undoes_the_issuance(
        self, client: FlaskClient, cast: Cast, holder: Holder, key: Any, clock: Clock, database_url: str
    ) -> None:
        register(client, cast.acme, [key])
        proof = holder.proof("POST", TOKEN_URL)
        assert ask(client, by_secret(cast.acme), proof).status_code == 200
        before = usage_sums(database_url, cast.acme.organization_id)
        form = by_key(clock, cast.acme.client_id, key)
        for _ in range(2):
            response = ask(client, form, proof)
            assert response.status_code == 400
            assert response.json == {
                "error": "invalid_dpop_proof",
                "error_description": "the DPoP proof was used before",
            }
        assert usage_sums(database_url, cast.acme.organization_id) == before
        # The assertion beside it was not consumed either; with a new proof it works once.
        assert ask(client, form, holder.proof("POST", TOKEN_URL)).status_code == 200
        assert ask(client, form, holder.proof("POST", TOKEN_URL)).status_code == 401

    def test_serves_one_of_many_requests_at_once(
        self, app: Flask, cast: Cast, holder: Holder, database_url: str
    ) -> None:
        answers: Counter[int] = Counter()
        lock = threading.Lock()
        proofs = [holder.proof("POST", TOKEN_URL) for _ in range(10)]

        def send() -> None:
            client = app.test_client()
            for proof in proofs:
                status = ask(client, by_secret(cast.acme), proof).status_code
                with lock:
                    answers[status] += 1

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert answers == {200: 10, 400: 70}
        sums = usage_sums(database_url, cast.acme.organization_id)
        assert sums == {name: 0 if "rejected" in name else 10 for name in sums}

    @COMPARES_STATEMENTS
    def test_costs_a_failure_the_same_whoever_fails(
        self, client: FlaskClient, services: Services, cast: Cast, holder: Holder
    ) -> None:
        said = []
        for client_id in (cast.acme.client_id, str(uuid.UUID(int=7)), "nobody") * 2:
            with overheard(services.database) as conversation:
                response = ask(
                    client, {"client_id": client_id, "client_secret": "wrong"}, holder.proof("POST", TOKEN_URL)
                )
            assert response.status_code == 401
            # An unprepared statement stands there with its parameters, which differ.
            statements = sorted(statement.partition("\n")[0] for statement in conversation.statements)
            said.append((statements, conversation.round_trips))
        # The first request of all reads the signing keys.
        assert said[1:] == [said[1]] * 5


class TestAnAssertion:
    """It is consumed by an active agent's key only, and verified against a bounded number of keys."""

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    def test_is_not_consumed_by_who_is_not_authentic(
        self, client: FlaskClient, cast: Cast, services: Services, key: Any, clock: Clock, database_url: str, path: str
    ) -> None:
        agent = make_agent(services, cast.acme.organization_id, "idle")
        path_of_agent = f"/api/v1/agents/{agent.client_id}"
        register(client, cast.acme, [ec.generate_private_key(ec.SECP256R1())])
        register(client, agent, [key])
        assert client.patch(path_of_agent, json={"status": "suspended"}, headers=cast.acme.bearer()).status_code == 200
        for client_id in (cast.acme.client_id, agent.client_id, str(uuid.uuid4()), "nobody"):
            assert ask(client, by_key(clock, client_id, key), path=path).status_code == 401
        assert used(database_url) == 0

    def test_is_tried_on_ten_keys_those_of_its_name_first_then_the_newest(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(14)]
        named = ec.generate_private_key(ec.SECP256R1())
        register(client, cast.acme, [named], kid="mine")
        for each in keys:
            clock.advance(seconds=1)
            register(client, cast.acme, [each])

        def status(key: Any, kid: str | None = None) -> int:
            return ask(client, by_key(clock, cast.acme.client_id, key, kid=kid)).status_code

        assert [status(each) for each in keys] == [401] * 4 + [200] * 10
        assert status(named, "mine") == 200
        assert (status(named), status(named, "another")) == (401, 401)
        # Keys without a name are tried after those of the assertion's name, so it is nine of them.
        clock.advance(minutes=1)
        assert [status(each, "mine") for each in keys] == [401] * 5 + [200] * 9

    @pytest.mark.parametrize("kid", ["", "\0", "ü", "\ud800", "x" * 3000])
    def test_may_name_its_key_as_it_likes(
        self, client: FlaskClient, cast: Cast, clock: Clock, key: Any, kid: str
    ) -> None:
        register(client, cast.acme, [key])
        register(client, cast.acme, [ec.generate_private_key(ec.SECP256R1())], kid="mine")
        assert ask(client, by_key(clock, cast.acme.client_id, key, kid=kid)).status_code == 200

    def test_costs_ten_verifications_at_most(
        self, client: FlaskClient, cast: Cast, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(10)]
        for _ in range(5):
            register(client, cast.acme, keys)
        verified = []
        verify = client_assertion._refusal
        monkeypatch.setattr(client_assertion, "_refusal", lambda *given: verified.append(given) or verify(*given))
        stranger = ec.generate_private_key(ec.SECP256R1())
        for kid in (None, "mine"):
            verified.clear()
            assert ask(client, by_key(clock, cast.acme.client_id, stranger, kid=kid)).status_code == 401
            assert len(verified) == 10


class TestARememberedKey:
    """The database decides about it at every request."""

    @ON_CITUS_TOO
    def test_authenticates_nobody_once_its_credential_is_revoked(
        self, client: FlaskClient, cast: Cast, key: Any, clock: Clock, database_url: str
    ) -> None:
        register(client, cast.acme, [key])
        assert ask(client, by_key(clock, cast.acme.client_id, key)).status_code == 200
        with psycopg.connect(database_url) as connection:
            connection.execute("update credentials set revoked_at = now() where jwks is not null")
        for path in CLIENT_PATHS:
            assert ask(client, by_key(clock, cast.acme.client_id, key), path=path).status_code == 401
        assert used(database_url) == 1, "who is not authentic stores nothing"

    def test_that_moves_to_another_credential_authenticates_as_before(
        self, client: FlaskClient, cast: Cast, key: Any, clock: Clock, database_url: str
    ) -> None:
        register(client, cast.acme, [key])
        assert ask(client, by_key(clock, cast.acme.client_id, key)).status_code == 200
        register(client, cast.acme, [ec.generate_private_key(ec.SECP256R1()), key])
        # Two credentials hold it, then only the second.
        assert ask(client, by_key(clock, cast.acme.client_id, key)).status_code == 200
        with psycopg.connect(database_url) as connection:
            connection.execute("update credentials set revoked_at = now() where jsonb_array_length(jwks) = 1")
        for path in CLIENT_PATHS:
            assert ask(client, by_key(clock, cast.acme.client_id, key), path=path).status_code == 200

    def test_of_one_client_is_none_of_another(self, client: FlaskClient, cast: Cast, key: Any, clock: Clock) -> None:
        register(client, cast.acme, [key])
        assert ask(client, by_key(clock, cast.acme.client_id, key)).status_code == 200
        for stranger in (cast.outsider.client_id, str(uuid.uuid4())):
            assert ask(client, by_key(clock, stranger, key)).status_code == 401

    def test_accepts_no_assertion_twice(
        self, client: FlaskClient, cast: Cast, key: Any, clock: Clock, database_url: str
    ) -> None:
        register(client, cast.acme, [key])
        for _ in range(2):
            form = by_key(clock, cast.acme.client_id, key)
            assert [ask(client, form).status_code for _ in range(3)] == [200, 401, 401]
        assert usage_sums(database_url, cast.acme.organization_id)["tokens"] == 2

    def test_makes_no_failure_cost_more(
        self,
        client: FlaskClient,
        services: Services,
        cast: Cast,
        key: Any,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        register(client, cast.acme, [key])
        stranger = ec.generate_private_key(ec.SECP256R1())
        seen, verify = [], client_assertion._refusal
        monkeypatch.setattr(client_assertion, "_refusal", lambda *given: seen.append(given) or verify(*given))
        costs = []
        for _ in range(2):
            seen.clear()
            with overheard(services.database) as conversation:
                assert ask(client, by_key(clock, cast.acme.client_id, stranger)).status_code == 401
            costs.append((sorted(conversation.statements), conversation.round_trips, len(seen)))
            assert ask(client, by_key(clock, cast.acme.client_id, key)).status_code == 200
        assert costs[0] == costs[1]

    def test_is_one_of_a_limited_number(
        self,
        client: FlaskClient,
        services: Services,
        cast: Cast,
        key: Any,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(client_assertion, "MAX_REMEMBERED", 3)
        register(client, cast.acme, [key])
        for number in range(5):
            assert ask(client, by_key(clock, cast.acme.client_id, key, kid=f"name {number}")).status_code == 200
            assert len(services.client_keys) <= 3


class TestUsedIdentifiers:
    """They are deleted once they have expired."""

    @ON_CITUS_TOO
    def test_are_not_kept_for_ever(self, services: Services, cast: Cast, clock: Clock, database_url: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "insert into used_identifiers select %s, sha256(n::text::bytea), '2000-01-01' "
                "from generate_series(1, 40) as n",
                [cast.acme.organization_id],
            )
        in_an_hour = clock() + timedelta(hours=1)
        with services.database.of(cast.acme.organization_id, clock()).transaction() as opened:
            for first_byte in range(256):
                digest = bytes([first_byte]) + bytes(31)
                opened.fetch("oauth/use_identifier", digest=digest, expires_at=in_an_hour)
        assert used(database_url) == 256

    def test_are_kept_until_no_server_takes_them(
        self, client: FlaskClient, cast: Cast, holder: Holder, key: Any, clock: Clock, database_url: str
    ) -> None:
        register(client, cast.acme, [key])
        assert ask(client, by_key(clock, cast.acme.client_id, key)).status_code == 200
        assert ask(client, by_secret(cast.acme), holder.proof("POST", TOKEN_URL)).status_code == 200
        with psycopg.connect(database_url) as connection:
            rows = connection.execute("select expires_at from used_identifiers").fetchall()
        kept = sorted((expires_at - clock()).total_seconds() for (expires_at,) in rows)
        # One leeway for the clock of a server that takes it, and one for that of the server that deletes it.
        assert kept == [MAX_AGE + 2 * LEEWAY, 60 + client_assertion.CLIENT_LEEWAY + 2 * LEEWAY]


class TestAnAssertionThatAQuotaRefuses:
    """It is consumed, so its commit waits for the disk. The count of the refusal alone does not."""

    @ADDS_A_TRIGGER
    def test_waits_for_the_disk_and_a_secret_does_not(
        self, client: FlaskClient, cast: Cast, key: Any, clock: Clock, database_url: str
    ) -> None:
        register(client, cast.acme, [key])
        path = f"/api/v1/agents/{cast.acme.client_id}/quotas/day"
        quota = {"tokens": 1, "enforce": True}
        assert client.put(path, json=quota, headers=cast.acme.bearer()).status_code == 200
        assert ask(client, by_secret(cast.acme)).status_code == 200
        settings = []
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("create table seen (setting text)")
            connection.execute(
                "create function look() returns trigger language plpgsql security definer as $$ "
                "begin insert into seen values (current_setting('synchronous_commit')); return new; end $$"
            )
            # Deferred, because the setting at the commit is what counts.
            connection.execute(
                "create constraint trigger look after insert or update on quota_refusals_daily "
                "deferrable initially deferred for each row execute function look()"
            )
            for form in (by_key(clock, cast.acme.client_id, key), by_secret(cast.acme)):
                assert ask(client, form).status_code == 429
                settings.append({*connection.execute("delete from seen returning setting").fetchall()})
        assert settings == [{("on",)}, {("off",)}]


class TestAProofAtTheApi:
    """Its commit waits for the disk."""

    @ADDS_A_TRIGGER
    @pytest.mark.parametrize("path", [TREND, "/api/v1/openapi.json", "/api/v1/agents", "/api/v1/no-such-route"])
    def test_waits_for_the_disk_and_a_bearer_token_does_not(
        self, client: FlaskClient, cast: Cast, holder: Holder, database_url: str, path: str
    ) -> None:
        token = bound_token(client, cast.acme, holder)
        with psycopg.connect(database_url) as connection:
            connection.execute("create table seen (setting text)")
            connection.execute(
                "create function look() returns trigger language plpgsql security definer as $$ "
                "begin insert into seen values (current_setting('synchronous_commit')); return new; end $$"
            )
            connection.execute(
                "create trigger look before insert or update on usage_daily for each row execute function look()"
            )
            connection.commit()
            call(client, token, holder.proof("GET", ISSUER + path, token), path=path)
            bound = {setting for (setting,) in connection.execute("delete from seen returning setting").fetchall()}
            connection.commit()
            client.get(path, headers=cast.acme.bearer())
            bearer = {setting for (setting,) in connection.execute("delete from seen returning setting").fetchall()}
        assert (bound, bearer) == ({"on"}, {"off"})

    @pytest.mark.very_slow
    def test_is_refused_after_a_crash_of_the_database(self) -> None:
        # Nothing but a commit that waits writes to the disk within the test.
        with temporary(durable=True, settings={"wal_writer_delay": "10s"}) as server:
            migrate(server.url)
            ensure_signing_key(settings_for(server.url), at=utc_now())
            clock = Clock(None)
            with application(server, clock) as client:
                services = client.application.extensions["agentidp"]
                agent = make_agent(services, make_organization(services))
                holder = Holder(clock)
                token = bound_token(client, agent, holder)
                proofs = [holder.proof("GET", ISSUER + TREND, token) for _ in range(20)]
                assert [call(client, token, proof).status_code for proof in proofs] == [200] * 20
                crash(server)
            server.start()
            with application(server, clock) as client:
                assert [call(client, token, proof).status_code for proof in proofs] == [401] * 20


def crash(server: EmbeddedPostgres) -> None:
    """Stop a server as a crash would: nothing that is in its memory gets to the disk."""
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGQUIT)
    process.wait(PATIENCE)


@contextmanager
def application(server: EmbeddedPostgres, clock: Clock) -> Iterator[FlaskClient]:
    """A client of an application on a server."""
    app = create_app(settings_for(server.url), clock=clock)
    with closing(app.extensions["agentidp"]):
        yield app.test_client()
