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
from flask.testing import FlaskClient

from agentidp.federation.issuer_tokens import MAX_CHARACTERS, IssuerTokens
from agentidp.federation.rule import Rule
from agentidp.federation.rule_checks import MAX_CLAIMS
from agentidp.jose.assertion import MAX_SIGNATURES
from agentidp.jose.jwk import MAX_KEYS, normalize_algorithm
from agentidp.oauth import client_assertion
from agentidp.oauth.throttle import INTERVAL, MAX_FAILURES_PER_MINUTE
from agentidp.registry.provisioning import NewProvisioningRuleSchema, add_rule
from agentidp.services import Services
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import Cast
from tests.factories import Clock, database_of
from tests.federation.issuer import ISSUER, NOW, SUBJECT, Issuer, trust
from tests.oauth.clients import GRANT, KEYS, PATH, KeyHolder
from tests.oauth.clients import ISSUER as US
from tests.wire import overheard

pytestmark = pytest.mark.slow

RUN = 300
"""Failed authentications in a run."""

TRIES = 3
MARGIN = 0.02
"""Maximum relative difference of two medians that counts as none. One more look-up takes three times as long."""

UNKNOWN = str(uuid.UUID(int=7))

BY_TOKEN = GRANT | {"client_assertion_type": client_assertion.TYPE}

Forms = Callable[[str], dict[str, str]]
"""The form of a request that fails to authenticate as a client."""


def by_secret(_: Cast) -> Forms:
    """Authenticate with a wrong secret."""
    return lambda client_id: GRANT | {"client_id": client_id, "client_secret": "wrong"}


def by_assertion(cast: Cast) -> Forms:
    """Authenticate with an assertion by a key that is not registered."""
    return KeyHolder(cast.acme, KEYS["ES256"]()).form_of


def by_federated_token(_: Cast) -> Forms:
    """Authenticate with a token of an issuer that no rule trusts."""
    token = Issuer.with_curve().token(US)
    return lambda client_id: BY_TOKEN | {"client_id": client_id, "client_assertion": token}


def status(client: FlaskClient, form: dict[str, str]) -> int:
    return client.post(PATH, data=form).status_code


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The algorithm of each signature that is verified."""
    seen: list[str] = []
    for alg in client_assertion.ALGORITHMS:
        algorithm = jwt.get_algorithm_by_name(alg)
        count = lambda *given, alg=alg, verify=algorithm.verify: seen.append(alg) or verify(*given)  # noqa: E731
        monkeypatch.setattr(algorithm, "verify", count)
    return seen


class TestConversation:
    """All failures send the same statements to the database. Unlike times, statements can be compared exactly."""

    @COMPARES_STATEMENTS
    @pytest.mark.parametrize(
        ("mechanism", "read"),
        [(by_secret, []), (by_assertion, ["oauth/client_keys"]), (by_federated_token, ["oauth/client_rules"])],
    )
    @pytest.mark.parametrize("is_throttled", [False, True])
    def test_is_the_same(
        self, client: FlaskClient, cast: Cast, mechanism: Callable[[Cast], Forms], read: list[str], is_throttled: bool
    ) -> None:
        form_of = mechanism(cast)
        clients = [cast.acme.client_id, cast.outsider.client_id, UNKNOWN, "nobody"]
        # The first request of a process reads the signing keys.
        status(client, form_of("somebody"))
        if is_throttled:
            for client_id in clients * MAX_FAILURES_PER_MINUTE:
                assert status(client, form_of(client_id)) == 401
        said = [
            "database/enter_organization",
            "database/enter_organization",
            "oauth/client_organization",
            "oauth/issue_access_token",
            "oauth/record_failure",
            "usage/record_rejected_network",
            "usage/record_rejection",
            *[one for statement in read for one in ("database/enter_organization", statement)],
        ]
        # Twice each: the second time the process remembers a known client's organization.
        for client_id in clients * 2:
            form = form_of(client_id)
            with overheard(cast.acme.services.database) as conversation:
                assert status(client, form) == (429 if is_throttled else 401)
            assert (sorted(conversation.statements), conversation.round_trips) == (sorted(said), 3 + len(read))

    @COMPARES_STATEMENTS
    def test_is_the_same_without_client_id(self, client: FlaskClient, services: Services, cast: Cast) -> None:
        """Whether the organization that the audience names exists or not, and has rules or not."""
        issuer = Issuer.with_curve()
        named = [cast.acme.organization_id, cast.outsider.organization_id, f"org-{uuid.UUID(int=7)}"]
        issuer.trusted_by(cast.acme, subject=None, claims={"ref": "main"})
        issuer.trusted_by(cast.acme)
        said = [
            *["database/enter_organization"] * 3,
            "oauth/issue_access_token",
            "oauth/provisioning_rules",
            "oauth/record_failure",
            "oauth/trusting_rules",
            "usage/record_rejected_network",
            "usage/record_rejection",
        ]
        # The first request of a process reads the signing keys.
        services.keys.current()
        for organization_id in named:
            token = issuer.token(f"urn:{organization_id}")
            with overheard(services.database) as conversation:
                assert status(client, BY_TOKEN | {"client_assertion": token}) == 401
            assert (sorted(conversation.statements), conversation.round_trips) == (said, 3)

    @pytest.mark.parametrize("alg", client_assertion.ALGORITHMS)
    def test_verifies_one_signature_whoever_fails(
        self, client: FlaskClient, cast: Cast, alg: str, verified: list[str]
    ) -> None:
        KeyHolder.make(cast.acme, alg)
        thief = KeyHolder(cast.acme, KEYS[alg](), alg)
        for client_id in (cast.acme.client_id, cast.outsider.client_id, UNKNOWN):
            form = thief.form_of(client_id)
            verified.clear()
            assert status(client, form) == 401
            assert len(verified) == 1

    def test_verifies_one_signature_of_a_federated_token_whoever_fails(
        self, client: FlaskClient, cast: Cast, verified: list[str]
    ) -> None:
        issuer, thief = Issuer.with_curve(), Issuer.with_curve()
        issuer.trusted_by(cast.acme)
        # Another rule, which has the same keys and is met by some of the tokens as well.
        issuer.trusted_by(cast.acme, subject=None, claims={"ref": "main"})
        tokens = [
            thief.token(US),
            thief.token(US, ref="main"),
            issuer.token("somebody"),
            issuer.token(US, sub="x"),
            issuer.token(US, header={"kid": "unknown"}),
            issuer.token(US, NOW - 100_000),
        ]
        for client_id in (cast.acme.client_id, cast.outsider.client_id, UNKNOWN):
            for token in tokens:
                verified.clear()
                assert status(client, BY_TOKEN | {"client_id": client_id, "client_assertion": token}) == 401
                assert verified == ["ES256"]

    def test_verifies_a_bounded_number_of_signatures(
        self, client: FlaskClient, cast: Cast, verified: list[str]
    ) -> None:
        """Rules with many keys, and a token that does not name its own."""
        audience = f"{US}/{cast.acme.organization_id}"
        for _ in range(3):
            jwks = {"keys": [Issuer.with_curve(kid=None).jwk() for _ in range(MAX_KEYS)]}
            trust(cast.acme, issuer=ISSUER, subject=SUBJECT, audience=audience, jwks=jwks)
        for client_id in ({"client_id": cast.acme.client_id}, {}):
            form = BY_TOKEN | client_id | {"client_assertion": Issuer.with_curve(kid=None).token(audience)}
            verified.clear()
            assert status(client, form) == 401
            assert verified == ["ES256"] * MAX_SIGNATURES["ES256"]

    @pytest.mark.parametrize("alg", ["ES256", "ES384"])
    def test_verifies_an_assertion_with_a_bounded_number_of_keys(
        self, client: FlaskClient, cast: Cast, alg: str, verified: list[str]
    ) -> None:
        for _ in range(max(MAX_SIGNATURES.values()) + 1):
            KeyHolder.make(cast.acme, alg, kid=None)
        thief = KeyHolder(cast.acme, KEYS[alg](), alg)
        verified.clear()
        assert status(client, thief.form(kid=None)) == 401
        assert verified == [alg] * MAX_SIGNATURES[normalize_algorithm(alg)]

    @pytest.mark.parametrize("has_client_id", [False, True])
    def test_reads_few_characters_of_rules_whatever_tenants_have_stored(
        self, client: FlaskClient, cast: Cast, has_client_id: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        acme, audience, lengths = cast.acme, f"{US}/{cast.acme.organization_id}", []
        monkeypatch.setattr(
            IssuerTokens, "parse_rule", lambda _, __, rule: lengths.append(len(rule)) or Rule.parse(rule)
        )
        claims = {f"claim {n}": ["x" * 500] for n in range(MAX_CLAIMS)}
        for _ in range(4):
            Issuer.with_curve().trusted_by(acme, audience=audience, subject=SUBJECT, claims=claims)
        template = {"name": "{sub}", "scopes": []}
        for n in range(4):
            with database_of(acme.services, acme.organization_id).transaction() as opened:
                rule = {"issuer": ISSUER, "claims": claims, "jwks": Issuer.with_curve().jwks()}
                new = {"name": str(n), "agentTemplate": template, "trust": rule}
                add_rule(opened, acme.services.settings, NewProvisioningRuleSchema().load(new))
        form = BY_TOKEN | ({"client_id": acme.client_id} if has_client_id else {})
        # The first rules fit, and the next one would make them too long.
        assert status(client, form | {"client_assertion": Issuer.with_curve().token(audience)}) in (400, 401)
        assert 0 < sum(lengths) <= MAX_CHARACTERS * (1 if has_client_id else 2)


class TestTime:
    """Medians of runs of an unknown client and a wrong secret differ by no more than two runs of the same."""

    def test_is_the_same_while_not_throttled(self, client: FlaskClient, cast: Cast, clock: Clock) -> None:
        assert_same_time(client, cast, 401, lambda: clock.advance(seconds=INTERVAL.total_seconds()))

    def test_is_the_same_while_throttled(self, client: FlaskClient, cast: Cast) -> None:
        for client_id in (UNKNOWN, cast.acme.client_id) * MAX_FAILURES_PER_MINUTE:
            assert status(client, by_secret(cast)(client_id)) == 401
        assert_same_time(client, cast, 429, lambda: None)


def assert_same_time(client: FlaskClient, cast: Cast, expected: int, between: Callable[[], None]) -> None:
    """Two runs of each client, and that up to ``TRIES`` times: the noise of one time in a hundred is no difference."""
    seen = []
    for number in range(TRIES):
        unknown_times, known_times = times(client, cast, expected, between, Random(number))
        difference = abs(median(unknown_times) - median(known_times))
        allowed = max(noise(unknown_times), noise(known_times)) + MARGIN * median(unknown_times)
        seen.append(f"{difference * 1e6:.0f} µs of {median(unknown_times) * 1e6:.0f}, allowed {allowed * 1e6:.0f}")
        if difference <= allowed:
            return
    raise AssertionError("; ".join(seen))


def times(
    client: FlaskClient, cast: Cast, expected: int, between: Callable[[], None], random: Random
) -> tuple[list[float], list[float]]:
    """Return the seconds of failures of an unknown and of a known client, two runs each, in random order."""
    turns = [UNKNOWN, cast.acme.client_id]
    taken: dict[str, list[float]] = {client_id: [] for client_id in turns}
    with undisturbed():
        for _ in range(2 * RUN):
            # The order is random, so that neither client profits from the caches that the other has filled.
            random.shuffle(turns)
            for client_id in turns:
                between()
                begin = time.perf_counter()
                answered = status(client, by_secret(cast)(client_id))
                taken[client_id].append(time.perf_counter() - begin)
                assert answered == expected
    return taken[UNKNOWN], taken[cast.acme.client_id]


def noise(sample: Sequence[float]) -> float:
    """Return the 99th percentile of the difference between the medians of random halves of *sample*."""
    random, shuffled, differences = Random(1), list(sample), []
    for _ in range(200):
        random.shuffle(shuffled)
        differences.append(abs(median(shuffled[:RUN]) - median(shuffled[RUN:])))
    return sorted(differences)[197]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Disable the garbage collector, which could run in any request."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
