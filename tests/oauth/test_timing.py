"""A failed authentication takes as long for an unknown client as for a wrong secret, throttled or not."""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from statistics import median

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask.testing import FlaskClient

from agentidp.jose.jwk import MAX_KEYS
from agentidp.oauth import client_assertion
from agentidp.oauth.federated_token import MAX_SIGNATURES
from agentidp.oauth.throttle import FAILURES_A_MINUTE, INTERVAL
from agentidp.services import Services
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import Cast
from tests.factories import Clock
from tests.federation.issuer import ISSUER, SUBJECT, Issuer, trust
from tests.oauth.test_token_endpoint import KEYS, KeyHolder
from tests.wire import overheard

pytestmark = pytest.mark.slow

RUN = 300
"""Failed authentications in a run."""

TRIES = 3
MARGIN = 0.02
"""The part of a median that is no difference, however quiet the machine. One look-up more is three times that."""

UNKNOWN = str(uuid.UUID(int=7))

Ask = Callable[[str], int]
"""Fails to authenticate as a client, and returns the status."""


@pytest.fixture
def by_secret(client: FlaskClient) -> Ask:
    """With a wrong secret."""

    def ask(client_id: str) -> int:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": "wrong"}
        return client.post("/api/v1/token", data=form).status_code

    return ask


@pytest.fixture
def by_assertion(client: FlaskClient, services: Services) -> Ask:
    """With an assertion by a key that is nobody's."""
    key = ec.generate_private_key(ec.SECP256R1())

    def ask(client_id: str) -> int:
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": services.settings.issuer,
            "exp": int(services.clock().timestamp()) + 60,
            "jti": uuid.uuid4().hex,
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": client_assertion.TYPE,
            "client_assertion": jwt.encode(claims, key, algorithm="ES256"),
        }
        return client.post("/api/v1/token", data=form).status_code

    return ask


@pytest.fixture
def by_federated_token(client: FlaskClient, services: Services) -> Ask:
    """With a token of an issuer that nobody trusts."""
    issuer = Issuer.with_curve()
    token = issuer.token(services.settings.issuer, int(services.clock().timestamp()))

    def ask(client_id: str) -> int:
        form = {"grant_type": "client_credentials", "client_id": client_id}
        form |= {"client_assertion_type": client_assertion.TYPE, "client_assertion": token}
        return client.post("/api/v1/token", data=form).status_code

    return ask


class TestConversation:
    """What a failure says to the database, whoever fails. This is what the times come from, and it is exact."""

    @COMPARES_STATEMENTS
    @pytest.mark.parametrize("mechanism", ["by_secret", "by_assertion", "by_federated_token"])
    @pytest.mark.parametrize("is_throttled", [False, True])
    def test_is_the_same(
        self,
        services: Services,
        cast: Cast,
        mechanism: str,
        is_throttled: bool,
        request: pytest.FixtureRequest,
    ) -> None:
        ask: Ask = request.getfixturevalue(mechanism)
        clients = [cast.acme.client_id, cast.outsider.client_id, UNKNOWN, "nobody"]
        # The first request of all reads the signing keys.
        ask("somebody")
        if is_throttled:
            for client_id in clients:
                for _ in range(FAILURES_A_MINUTE):
                    assert ask(client_id) == 401
        said = [
            "database/enter_organization",
            "database/enter_organization",
            "oauth/client_organization",
            "oauth/issue_access_token",
            "oauth/record_failure",
            "usage/record_rejected_network",
            "usage/record_rejection",
        ]
        round_trips = 3
        if mechanism != "by_secret":
            read = "oauth/client_keys" if mechanism == "by_assertion" else "oauth/client_rules"
            said = sorted([*said, "database/enter_organization", read])
            round_trips += 1
        # Twice each: the second time the process remembers a known client's organization.
        for client_id in clients * 2:
            with overheard(services.database) as conversation:
                status = ask(client_id)
            assert status == (429 if is_throttled else 401)
            assert (sorted(conversation.statements), conversation.round_trips) == (said, round_trips)

    @COMPARES_STATEMENTS
    def test_is_the_same_without_client_id(self, client: FlaskClient, services: Services, cast: Cast) -> None:
        """Whether the organization that the audience names exists or not, and has rules or not."""
        issuer = Issuer.with_curve()
        named = [cast.acme.organization_id, cast.outsider.organization_id, f"org-{uuid.UUID(int=7)}"]
        trust(cast.acme, issuer=issuer.url, claims={"ref": "main"}, jwks=issuer.jwks())
        trust(cast.acme, issuer=issuer.url, subject=SUBJECT, jwks=issuer.jwks())
        said = [
            *["database/enter_organization"] * 3,
            "oauth/issue_access_token",
            "oauth/provisioning_rules",
            "oauth/record_failure",
            "oauth/trusting_rules",
            "usage/record_rejected_network",
            "usage/record_rejection",
        ]
        # The first request of all reads the signing keys.
        services.keys.current()
        for organization_id in named:
            token = issuer.token(f"urn:{organization_id}", int(services.clock().timestamp()))
            form = {"grant_type": "client_credentials", "client_assertion_type": client_assertion.TYPE}
            with overheard(services.database) as conversation:
                response = client.post("/api/v1/token", data=form | {"client_assertion": token})
            assert response.status_code == 401
            assert (sorted(conversation.statements), conversation.round_trips) == (said, 3)

    @pytest.mark.parametrize("alg", client_assertion.ALGORITHMS)
    def test_verifies_one_signature_whoever_fails(
        self, client: FlaskClient, services: Services, cast: Cast, alg: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        algorithm, key = jwt.get_algorithm_by_name(alg), KEYS[alg]()
        form = {"grant_type": "client_credentials", "client_assertion_type": client_assertion.TYPE}
        verified, verify = [], algorithm.verify
        monkeypatch.setattr(algorithm, "verify", lambda *given: verified.append(alg) or verify(*given))
        holder = KeyHolder.make(services, cast.acme, alg)
        for client_id in (holder.agent.client_id, cast.outsider.client_id, UNKNOWN):
            claims = holder.claims(iss=client_id, sub=client_id)
            wrong = {"client_assertion": jwt.encode(claims, key, alg)}
            verified.clear()
            assert client.post("/api/v1/token", data=form | wrong).status_code == 401
            assert verified == [alg]

    def test_verifies_one_signature_of_a_federated_token_whoever_fails(
        self, client: FlaskClient, services: Services, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        issuer, thief = Issuer.with_curve(), Issuer.with_curve()
        trust(cast.acme, issuer=issuer.url, subject=SUBJECT, jwks=issuer.jwks())
        # Another rule, which has the same keys and is met by some of the tokens as well.
        trust(cast.acme, issuer=issuer.url, claims={"ref": "main"}, jwks=issuer.jwks())
        algorithm, verified = jwt.get_algorithm_by_name("ES256"), []
        verify = algorithm.verify
        monkeypatch.setattr(algorithm, "verify", lambda *given: verified.append(1) or verify(*given))
        us, now = services.settings.issuer, int(services.clock().timestamp())
        for client_id in (cast.acme.client_id, cast.outsider.client_id, UNKNOWN):
            for token in (
                thief.token(us, now),
                thief.token(us, now, ref="main"),
                issuer.token("somebody", now),
                issuer.token(us, now, sub="x"),
                issuer.token(us, now, header={"kid": "unknown"}),
                issuer.token(us, now - 100_000),
            ):
                form = {"grant_type": "client_credentials", "client_id": client_id}
                form |= {"client_assertion_type": client_assertion.TYPE, "client_assertion": token}
                verified.clear()
                assert client.post("/api/v1/token", data=form).status_code == 401
                assert verified == [1]

    def test_verifies_a_bounded_number_of_signatures(
        self, client: FlaskClient, services: Services, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rules with many keys, and a token that does not name its own."""
        audience = f"{services.settings.issuer}/{cast.acme.organization_id}"
        kinds = [Issuer.with_curve(kid=None) for _ in range(3 * MAX_KEYS)]
        for n in range(3):
            jwks = {"keys": [kind.jwk() for kind in kinds[n * MAX_KEYS : (n + 1) * MAX_KEYS]]}
            trust(cast.acme, issuer=ISSUER, subject=SUBJECT, audience=audience, jwks=jwks)
        algorithm, verified = jwt.get_algorithm_by_name("ES256"), []
        verify = algorithm.verify
        monkeypatch.setattr(algorithm, "verify", lambda *given: verified.append(1) or verify(*given))
        now = int(services.clock().timestamp())
        for client_id in ({"client_id": cast.acme.client_id}, {}):
            form = {"grant_type": "client_credentials", "client_assertion_type": client_assertion.TYPE}
            form |= client_id | {"client_assertion": Issuer.with_curve(kid=None).token(audience, now)}
            verified.clear()
            assert client.post("/api/v1/token", data=form).status_code == 401
            assert len(verified) == MAX_SIGNATURES


class TestTime:
    """Medians of runs of an unknown client and a wrong secret differ by no more than two runs of the same."""

    def test_is_the_same_while_not_throttled(self, by_secret: Ask, cast: Cast, clock: Clock) -> None:
        assert_same_time(by_secret, cast.acme.client_id, 401, lambda: clock.advance(seconds=INTERVAL.total_seconds()))

    def test_is_the_same_while_throttled(self, by_secret: Ask, cast: Cast) -> None:
        for client_id in (UNKNOWN, cast.acme.client_id):
            for _ in range(FAILURES_A_MINUTE):
                assert by_secret(client_id) == 401
        assert_same_time(by_secret, cast.acme.client_id, 429, lambda: None)


def assert_same_time(ask: Ask, known: str, status: int, between: Callable[[], None]) -> None:
    """Two runs of each client, and that up to ``TRIES`` times: the noise of one time in a hundred is no difference."""
    seen = []
    for number in range(TRIES):
        unknown_times, known_times = times(ask, known, status, between, Random(number))
        difference = abs(median(unknown_times) - median(known_times))
        allowed = max(noise(unknown_times), noise(known_times)) + MARGIN * median(unknown_times)
        seen.append(f"{difference * 1e6:.0f} µs of {median(unknown_times) * 1e6:.0f}, allowed {allowed * 1e6:.0f}")
        if difference <= allowed:
            return
    raise AssertionError("; ".join(seen))


def times(
    ask: Ask, known: str, status: int, between: Callable[[], None], random: Random
) -> tuple[list[float], list[float]]:
    """Seconds that an unknown client's and a known client's failures take, two runs of each, in turns."""
    taken: dict[str, list[float]] = {UNKNOWN: [], known: []}
    turns = [UNKNOWN, known]
    with undisturbed():
        for _ in range(2 * RUN):
            # In whichever order, so that neither profits from what the other has left in a cache.
            random.shuffle(turns)
            for client_id in turns:
                between()
                begin = time.perf_counter()
                answered = ask(client_id)
                taken[client_id].append(time.perf_counter() - begin)
                assert answered == status
    return taken[UNKNOWN], taken[known]


def noise(sample: Sequence[float]) -> float:
    """By how much the medians of two runs of the same differ, 99 times in a hundred: halves of *sample*, at random."""
    random, shuffled, differences = Random(1), list(sample), []
    for _ in range(200):
        random.shuffle(shuffled)
        differences.append(abs(median(shuffled[:RUN]) - median(shuffled[RUN:])))
    return sorted(differences)[197]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without the garbage collector, whose turn it could be in any request."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
