"""Assertions and proofs can be used once. Only an authentic client's request consumes them, also across a crash."""

from __future__ import annotations

import signal
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.clock import utc_now
from agentidp.config import LEEWAY
from agentidp.db.embedded_postgres import EmbeddedPostgres, temporary
from agentidp.db.migrations import migrate
from agentidp.jose.assertion import CLIENT_LEEWAY
from agentidp.jose.dpop import MAX_AGE
from agentidp.jose.jwk import check_public_jwk
from agentidp.jose.jws import MAX_KID_LENGTH
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.oauth import client_assertion
from agentidp.services import Services
from tests.citus import ADDS_A_TRIGGER, COMPARES_STATEMENTS
from tests.conftest import ON_CITUS_TOO, Cast, settings_for
from tests.factories import PATIENCE, Clock, execute, make_agent, make_organization
from tests.helpers.dpop import TOKEN_URL, TREND, Holder, bound_token, call, holder
from tests.helpers.quotas import put
from tests.oauth import clients
from tests.oauth.clients import (
    FAILED,
    ISSUER,
    KEYS,
    USED_BEFORE,
    KeyHolder,
    change,
    commits_to,
    jwk_of,
    process,
    refused,
    register,
    whole,
)
from tests.routes import CLIENT_PATHS
from tests.wire import overheard

__all__ = ["holder"]

REPLAYED = refused("invalid_dpop_proof", "the DPoP proof was used before")


def used(url: str) -> int:
    """Return the number of consumed identifiers."""
    return len(execute(url, "select digest from used_identifiers"))


def ask(
    client: FlaskClient, form: dict[str, str], proof: str | None = None, path: str = CLIENT_PATHS[0]
) -> clients.TestResponse:
    return clients.ask(client, form | {"token": "none"}, {"DPoP": proof} if proof else {}, path)


@pytest.fixture
def acme(cast: Cast) -> KeyHolder:
    """Acme's agent, which has a key."""
    return KeyHolder.make(cast.acme, kid=None)


@pytest.fixture
def stranger(acme: KeyHolder) -> KeyHolder:
    """A client that claims to be Acme's agent, with a key that is not registered."""
    return KeyHolder(acme.agent, KEYS["ES256"]())


class TestAProofAtTheTokenEndpoint:
    """A proof is consumed only when a token is issued."""

    @ON_CITUS_TOO
    def test_is_not_consumed_by_who_is_not_authentic(
        self, client: FlaskClient, cast: Cast, holder: Holder, stranger: KeyHolder, database_url: str
    ) -> None:
        proof = holder.proof("POST", TOKEN_URL)
        strangers = [
            cast.acme.form | {"client_secret": "wrong"},
            *[
                cast.acme.form | {"client_secret": "wrong"} | {"client_id": nobody}
                for nobody in (str(uuid.uuid4()), "nobody")
            ],
            stranger.form(),
            stranger.form_of(str(uuid.uuid4())),
        ]
        for form in strangers:
            assert whole(ask(client, form, proof)) == FAILED
        assert used(database_url) == 0
        assert ask(client, cast.acme.form, proof).status_code == 200
        assert used(database_url) == 1
        # A replay reveals nothing to a client that is not authentic.
        for form in strangers:
            assert whole(ask(client, form, proof)) == FAILED
        assert used(database_url) == 1

    def test_is_not_consumed_where_no_token_is_issued(
        self, client: FlaskClient, cast: Cast, holder: Holder, database_url: str
    ) -> None:
        proof = holder.proof("POST", TOKEN_URL)
        for wrong, error in (
            ({"scope": "no:such"}, "invalid_scope"),
            ({"resource": "https://x.example"}, "invalid_target"),
        ):
            assert ask(client, cast.acme.form | wrong, proof).json["error"] == error
        assert used(database_url) == 0
        assert ask(client, cast.acme.form, proof).status_code == 200

    @ON_CITUS_TOO
    def test_that_was_used_before_undoes_the_issuance(
        self, client: FlaskClient, acme: KeyHolder, holder: Holder
    ) -> None:
        proof = holder.proof("POST", TOKEN_URL)
        assert ask(client, acme.agent.form, proof).status_code == 200
        before, form = acme.agent.sums(), acme.form()
        for _ in range(2):
            assert whole(ask(client, form, proof)) == REPLAYED
        assert acme.agent.sums() == before
        # The assertion beside it was not consumed either; with a new proof it works once.
        assert ask(client, form, holder.proof("POST", TOKEN_URL)).status_code == 200
        assert whole(ask(client, form, holder.proof("POST", TOKEN_URL))) == USED_BEFORE

    def test_serves_one_of_many_requests_at_once(self, app: Flask, cast: Cast, holder: Holder) -> None:
        proofs = [holder.proof("POST", TOKEN_URL) for _ in range(10)]

        def send(_: int) -> Counter[int]:
            client = app.test_client()
            return Counter(ask(client, cast.acme.form, proof).status_code for proof in proofs)

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(send, range(8)), Counter()) == {200: 10, 400: 70}
        sums = cast.acme.sums()
        assert sums == {name: 0 if "rejected" in name else 10 for name in sums}

    @COMPARES_STATEMENTS
    def test_costs_a_failure_the_same_whoever_fails(
        self, client: FlaskClient, services: Services, cast: Cast, holder: Holder
    ) -> None:
        said = []
        for client_id in (cast.acme.client_id, str(uuid.UUID(int=7)), "nobody") * 2:
            form = cast.acme.form | {"client_secret": "wrong"} | {"client_id": client_id}
            with overheard(services.database) as conversation:
                assert whole(ask(client, form, holder.proof("POST", TOKEN_URL))) == FAILED
            # An unprepared statement stands there with its parameters, which differ.
            statements = sorted(statement.partition("\n")[0] for statement in conversation.statements)
            said.append((statements, conversation.round_trips))
        # The first request of a process reads the signing keys.
        assert said[1:] == [said[1]] * 5


class TestAnAssertion:
    """An assertion is consumed only for an active agent, and verified with a bounded number of keys."""

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    def test_is_not_consumed_by_who_is_not_authentic(
        self, client: FlaskClient, cast: Cast, stranger: KeyHolder, database_url: str, path: str
    ) -> None:
        idle = KeyHolder.make(cast.acme.colleague())
        change(client, cast.acme, idle.agent, status="suspended")
        forms = [idle.form(), *(stranger.form_of(one) for one in (cast.acme.client_id, str(uuid.uuid4()), "nobody"))]
        for form in forms:
            assert whole(ask(client, form, path=path)) == FAILED
        assert used(database_url) == 0

    def test_is_not_counted_if_no_token_is_issued(self, client: FlaskClient, acme: KeyHolder) -> None:
        assert ask(client, acme.form() | {"scope": "nothing"}).json["error"] == "invalid_scope"
        assert set(acme.agent.sums().values()) == {0}

    def test_is_tried_on_four_keys_those_of_its_name_first_then_the_newest(
        self, client: FlaskClient, cast: Cast, clock: Clock, stranger: KeyHolder, verified: list[object]
    ) -> None:
        named, unnamed = KeyHolder.make(cast.acme), []
        for _ in range(14):
            clock.advance(seconds=1)
            unnamed.append(KeyHolder.make(cast.acme, kid=None))

        def statuses(kid: str | None, *holders: KeyHolder) -> list[int]:
            return [ask(client, holder.form(kid=kid)).status_code for holder in holders]

        assert statuses(None, *unnamed) == [401] * 10 + [200] * 4
        assert statuses("mine", named) == [200]
        assert statuses(None, named) == statuses("another", named) == [401]
        # Keys without a name are tried after those of the assertion's name, so only three of them are.
        assert statuses("mine", *unnamed) == [401] * 11 + [200] * 3
        for kid in (None, "mine"):
            verified.clear()
            assert statuses(kid, stranger) == [401]
            assert len(verified) == 4

    @pytest.mark.parametrize("kid", ["", "\0", "ü", "\ud800", "x" * 3000])
    def test_may_name_its_key_as_it_likes(self, client: FlaskClient, acme: KeyHolder, kid: str) -> None:
        KeyHolder.make(acme.agent, kid="mine")
        assert ask(client, acme.form(kid=kid)).status_code == 200


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The keys with which assertions were verified."""
    seen: list[object] = []
    verify = client_assertion._find_assertion_refusal
    monkeypatch.setattr(
        client_assertion, "_find_assertion_refusal", lambda *given: seen.append(given) or verify(*given)
    )
    return seen


class TestARememberedKey:
    """The database checks a remembered key in every request."""

    @ON_CITUS_TOO
    def test_authenticates_nobody_once_its_credential_is_revoked(
        self, client: FlaskClient, acme: KeyHolder, database_url: str
    ) -> None:
        assert ask(client, acme.form()).status_code == 200
        execute(database_url, "update credentials set revoked_at = now() where jwks is not null")
        for path in CLIENT_PATHS:
            assert whole(ask(client, acme.form(), path=path)) == FAILED
        # A client that is not authentic stores nothing.
        assert used(database_url) == 1

    def test_that_moves_to_another_credential_authenticates_as_before(
        self, client: FlaskClient, acme: KeyHolder, database_url: str
    ) -> None:
        assert ask(client, acme.form()).status_code == 200
        register(acme.agent, *(check_public_jwk(jwk_of(key, "ES256")) for key in (KEYS["ES256"](), acme.key)))
        # Two credentials hold it, then only the second.
        assert ask(client, acme.form()).status_code == 200
        execute(database_url, "update credentials set revoked_at = now() where jsonb_array_length(jwks) = 1")
        for path in CLIENT_PATHS:
            assert ask(client, acme.form(), path=path).status_code == 200

    def test_of_one_client_is_none_of_another(self, client: FlaskClient, cast: Cast, acme: KeyHolder) -> None:
        assert ask(client, acme.form()).status_code == 200
        for other in (cast.outsider.client_id, str(uuid.uuid4())):
            assert whole(ask(client, acme.form_of(other))) == FAILED

    @COMPARES_STATEMENTS
    def test_makes_no_failure_cost_more(
        self, client: FlaskClient, services: Services, acme: KeyHolder, stranger: KeyHolder, verified: list[object]
    ) -> None:
        costs = []
        # The first request of a process reads the signing keys.
        services.keys.current()
        for _ in range(2):
            verified.clear()
            with overheard(services.database) as conversation:
                assert whole(ask(client, stranger.form())) == FAILED
            costs.append((sorted(conversation.statements), conversation.round_trips, len(verified)))
            assert ask(client, acme.form()).status_code == 200
        assert costs[0] == costs[1]

    def test_is_one_of_a_limited_number(
        self, client: FlaskClient, services: Services, acme: KeyHolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_assertion, "MAX_REMEMBERED", 3)
        for number in range(5):
            assert ask(client, acme.form(kid=f"name {number}")).status_code == 200
            assert len(services.client_keys) <= 3
        services.client_keys.clear()
        # A key without a name is tried for any, and a token has what name it likes.
        for number in range(2):
            assert ask(client, acme.form(kid=f"{number}" * (MAX_KID_LENGTH + 1))).status_code == 200
        assert [kid for _, _, kid in services.client_keys] == [""]


class TestUsedIdentifiers:
    """Expired identifiers are deleted."""

    @ON_CITUS_TOO
    def test_are_not_kept_for_ever(self, services: Services, cast: Cast, clock: Clock, database_url: str) -> None:
        # The first identifier expires now, and the others have just expired.
        insert = (
            "insert into used_identifiers select %s, sha256(n::text::bytea), "
            "%s::timestamptz - sign(n) * interval '1 microsecond' from generate_series(0, 40) as n"
        )
        execute(database_url, insert, cast.acme.organization_id, clock())
        in_an_hour = clock() + timedelta(hours=1)
        with services.database.of(cast.acme.organization_id, clock()).transaction() as opened:
            for first_byte in range(256):
                digest = bytes([first_byte]) + bytes(31)
                opened.fetch("oauth/use_identifier", digest=digest, expires_at=in_an_hour)
        assert used(database_url) == 1 + 256

    def test_are_kept_until_no_server_takes_them(
        self, client: FlaskClient, acme: KeyHolder, holder: Holder, clock: Clock, database_url: str
    ) -> None:
        assert ask(client, acme.form()).status_code == 200
        assert ask(client, acme.agent.form, holder.proof("POST", TOKEN_URL)).status_code == 200
        rows = execute(database_url, "select expires_at from used_identifiers")
        kept = sorted((expires_at - clock()).total_seconds() for (expires_at,) in rows)
        # One leeway for the clock of a server that takes it, and one for that of the server that deletes it.
        assert kept == [MAX_AGE + 2 * LEEWAY, 60 + CLIENT_LEEWAY + 2 * LEEWAY]


@ADDS_A_TRIGGER
def test_an_assertion_that_a_quota_refuses_waits_for_the_disk_and_a_secret_does_not(
    client: FlaskClient, acme: KeyHolder, database_url: str
) -> None:
    """The assertion is consumed durably. The count of a refusal alone need not be durable."""
    put(client, acme.agent, "day", 1)
    assert ask(client, acme.agent.form).status_code == 200
    with commits_to(database_url, "quota_refusals_daily") as settings:
        for form, setting in ((acme.form(), "on"), (acme.agent.form, "off")):
            assert ask(client, form).status_code == 429
            assert settings() == {setting}


class TestAProofAtTheApi:
    """The commit of a consumed proof waits for the disk."""

    @ADDS_A_TRIGGER
    @pytest.mark.parametrize("path", [TREND, "/api/v1/openapi.json", "/api/v1/agents", "/api/v1/no-such-route"])
    def test_waits_for_the_disk_and_a_bearer_token_does_not(
        self, client: FlaskClient, cast: Cast, holder: Holder, database_url: str, path: str
    ) -> None:
        token = bound_token(client, cast.acme, holder)
        with commits_to(database_url, "usage_daily") as settings:
            call(client, token, holder.proof("GET", ISSUER + path, token), path=path)
            assert settings() == {"on"}
            client.get(path, headers=cast.acme.bearer())
            assert settings() == {"off"}

    @pytest.mark.very_slow
    def test_is_refused_after_a_crash_of_the_database(self) -> None:
        # Nothing but a commit that waits writes to the disk within the test.
        with temporary(durable=True, settings={"wal_writer_delay": "10s"}) as server:
            migrate(server.url)
            ensure_signing_key(settings_for(server.url), at=utc_now())
            clock = Clock(None)
            with process(server.url, clock) as client:
                services = client.application.extensions["agentidp"]
                agent = make_agent(services, make_organization(services))
                holder = Holder(clock)
                token = bound_token(client, agent, holder)
                proofs = [holder.proof("GET", ISSUER + TREND, token) for _ in range(20)]
                assert [call(client, token, proof).status_code for proof in proofs] == [200] * 20
                crash(server)
            server.start()
            with process(server.url, clock) as client:
                assert [call(client, token, proof).status_code for proof in proofs] == [401] * 20


def crash(server: EmbeddedPostgres) -> None:
    """Stop a server like a crash, without writing its memory to the disk."""
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGQUIT)
    process.wait(PATIENCE)
