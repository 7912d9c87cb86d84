"""What is fetched of an issuer, when, and for whom."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import Any

import pytest

from agentidp.federation import issuer_keys
from agentidp.federation.issuer_keys import (
    FETCHES_OF_ALL,
    FETCHES_OF_ONE,
    MAX_AGE,
    MAX_BODY,
    MAX_KEYS_TRIED,
    MAX_SOURCES,
    MAX_STALE,
    MIN_AGE,
    PAUSE,
    PAUSE_WITHOUT_KEYS,
    IssuerKeys,
    KeySet,
    KeySource,
    KeysUnavailable,
)
from agentidp.outbound.client import proxy_of_environment
from agentidp.outbound.networks import LOOPBACK, OF_THE_OPERATOR, AllowedNetworks
from tests.factories import PATIENCE, wait_until
from tests.federation.https_issuer import DISCOVERY, HttpsIssuer
from tests.federation.issuer import Issuer
from tests.outbound.test_client import responding, server

ACME, OTHER = "org-acme", "org-other"


class Time:
    """A clock that stands until somebody moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    """The clock of the keys."""
    return Time()


@pytest.fixture
def keys(clock: Time) -> IssuerKeys:
    """The keys that a process knows. It may connect to the loopback."""
    return IssuerKeys(AllowedNetworks(LOOPBACK, plain=(), setting="AGENTIDP_ISSUER_NETWORKS"), clock)


def find(keys: IssuerKeys, published: HttpsIssuer, kid: str | None = "first", organization: str = ACME) -> int:
    """How many keys are found."""
    source = KeySource(published.url, None)
    return len(keys.find(source, kid, "ES256", organization_id=organization))


def failure(keys: IssuerKeys, source: KeySource) -> str:
    """Why no keys are known."""
    with pytest.raises(KeysUnavailable) as failed:
        keys.find(source, "first", "ES256", organization_id=ACME)
    return str(failed.value)


def warned(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines about keys that were not fetched."""
    return [one.fields for one in caplog.records if one.getMessage() == "keys of an issuer not fetched"]  # type: ignore[attr-defined]


class TestDiscovery:
    """OpenID Connect Discovery, or an address of the keys."""

    def test_finds_the_keys_and_remembers_them(self, keys: IssuerKeys, published: HttpsIssuer) -> None:
        for _ in range(3):
            assert find(keys, published) == 1
        assert published.requests == [DISCOVERY, "/keys"]

    def test_by_the_address_of_the_keys(self, keys: IssuerKeys, published: HttpsIssuer) -> None:
        source = KeySource("https://somebody.example", f"{published.url}/keys")
        assert len(keys.find(source, "first", "ES256", organization_id=ACME)) == 1
        assert published.requests == ["/keys"]

    @pytest.mark.parametrize("path", ["/tenant", "/tenant/", "/"])
    def test_a_closing_slash_belongs_to_the_name_and_not_to_the_address(
        self, keys: IssuerKeys, published: HttpsIssuer, path: str
    ) -> None:
        published.publish(path=path)
        source = KeySource(published.url + path, None)
        assert len(keys.find(source, "first", "ES256", organization_id=ACME)) == 1
        assert published.requests[0] == path.rstrip("/") + DISCOVERY

    @pytest.mark.parametrize("other", ["", "/", "/tenant-b"])
    def test_the_metadata_must_be_that_issuers(self, keys: IssuerKeys, published: HttpsIssuer, other: str) -> None:
        """Another tenant's, for example, or one with a slash more."""
        metadata = {"issuer": published.url + other, "jwks_uri": f"{published.url}/keys"}
        published.json(f"/tenant-a{DISCOVERY}", metadata)
        assert failure(keys, KeySource(f"{published.url}/tenant-a", None)) == "the metadata is of another issuer"

    @pytest.mark.parametrize(
        ("page", "reason"),
        [
            ((500, {}, b"{}"), "the status is 500, not 200"),
            ((302, {"Location": "https://elsewhere.example/"}, b""), "the status is 302, not 200"),
            ((200, {}, b"<html>"), "the response is not a JSON object"),
            ((200, {}, b"[]"), "the response is not a JSON object"),
            ((200, {}, b"[" * 50_000), "the response is not a JSON object"),
            ((200, {}, b" " * (MAX_BODY + 1)), f"the response has more than {MAX_BODY} bytes"),
            ((200, {}, b" " * 10_000_000), f"the response has more than {MAX_BODY} bytes"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
    def test_what_is_wrong_is_refused(
        self, keys: IssuerKeys, published: HttpsIssuer, path: str, page: Any, reason: str
    ) -> None:
        published.pages[path] = page
        assert failure(keys, KeySource(published.url, None)) == reason

    @pytest.mark.parametrize(
        ("metadata", "reason"),
        [
            ({}, "the metadata has no jwks_uri"),
            ({"jwks_uri": ["x"]}, "the metadata has no jwks_uri"),
            ({"jwks_uri": "http://localhost/keys"}, "the address is not an https URL"),
            ({"jwks_uri": "https://user@localhost/keys"}, "the address is not an https URL"),
            ({"jwks_uri": "file:///etc/passwd"}, "the address is not an https URL"),
            ({"jwks_uri": "https://[x/"}, "the address is not an https URL"),
        ],
        ids=str,
    )
    def test_the_keys_are_at_an_https_address(
        self, keys: IssuerKeys, published: HttpsIssuer, metadata: dict[str, Any], reason: str
    ) -> None:
        published.json(DISCOVERY, {"issuer": published.url} | metadata)
        assert failure(keys, KeySource(published.url, None)) == reason

    @pytest.mark.parametrize("body", [{}, {"keys": {}}, {"keys": None}])
    def test_the_keys_are_a_jwk_set(self, keys: IssuerKeys, published: HttpsIssuer, body: object) -> None:
        published.json("/keys", body)
        assert failure(keys, KeySource(published.url, None)) == "the response is not a JWK Set"

    def test_no_private_address_unless_the_operator_allows_it(
        self, clock: Time, published: HttpsIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """localhost is a name that leads there."""
        refused = "the address is not public, and AGENTIDP_ISSUER_NETWORKS does not allow it"
        for allowed in (None, (ip_network("10.0.0.0/8"),)):
            keys = IssuerKeys(AllowedNetworks(allowed, plain=(), setting="AGENTIDP_ISSUER_NETWORKS"), clock)
            assert failure(keys, KeySource(published.url, None)) == refused
        assert published.requests == []
        assert warned(caplog) == [{"issuer": published.url, "reason": refused}] * 2

    def test_a_proxy_leads_to_an_issuer_that_the_operator_names(
        self, published: HttpsIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the environment says, of the provider at which people sign in."""
        heard: list[bytes] = []
        with server(responding(b"HTTP/1.1 403 No\r\n\r\n", heard)) as port:
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
            monkeypatch.setenv("NO_PROXY", "")
            monkeypatch.setenv("no_proxy", "")
            keys = IssuerKeys(OF_THE_OPERATOR, proxy=proxy_of_environment)
            assert failure(keys, KeySource(published.url, None)) == "no connection: OSError"
        assert heard[0].startswith(f"CONNECT localhost:{published.port} HTTP/1.".encode())
        assert published.requests == []

    def test_a_certificate_that_nobody_trusts_is_refused(
        self, keys: IssuerKeys, published: HttpsIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "the certificate is refused" in failure(keys, KeySource(published.url, None))
        assert published.requests == []

    def test_a_slow_issuer_is_given_up(
        self, keys: IssuerKeys, published: HttpsIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(issuer_keys, "TIMEOUT", 0.2)
        released = threading.Event()
        published.pages["/keys"] = lambda: released.wait(PATIENCE) and (200, {}, b"{}")
        try:
            assert failure(keys, KeySource(published.url, None)).startswith("no response within")
        finally:
            released.set()


class TestFreshness:
    """How long keys are known, and when they are fetched again."""

    @pytest.mark.parametrize(
        ("cache_control", "age"),
        [
            (None, MIN_AGE),
            ("no-store", MIN_AGE),
            ("max-age=0", MIN_AGE),
            ("public, max-age=3600, must-revalidate", 3600),
            ("s-maxage=7200, max-age=900", 900),
            ("Max-Age=3600", 3600),
            ("max-age=999999999", MAX_AGE),
            ("max-age=nonsense", MIN_AGE),
        ],
    )
    def test_is_that_of_the_response_within_bounds(
        self, keys: IssuerKeys, clock: Time, published: HttpsIssuer, cache_control: str | None, age: float
    ) -> None:
        published.publish(cache_control=cache_control)
        assert find(keys, published) == 1
        clock.now += age - 1
        assert find(keys, published) == 1
        assert len(published.requests) == 2
        clock.now += 1
        assert find(keys, published) == 1
        wait_until(lambda: len(published.requests) == 4)

    def test_a_rotation_is_seen_as_soon_as_a_token_names_the_new_key(
        self, keys: IssuerKeys, clock: Time, published: HttpsIssuer
    ) -> None:
        assert find(keys, published) == 1
        second = Issuer.with_curve(published.url, "second")
        published.publish(second.jwk())
        clock.now += PAUSE
        assert find(keys, published, "second") == 1
        assert find(keys, published) == 0

    def test_an_unknown_key_is_looked_for_once_a_minute(
        self, keys: IssuerKeys, clock: Time, published: HttpsIssuer
    ) -> None:
        for kid in ("first", "x", "y", "z"):
            find(keys, published, kid)
        assert len(published.requests) == 2
        clock.now += PAUSE - 0.1
        assert find(keys, published, "x") == 0
        assert len(published.requests) == 2
        clock.now += 0.1
        for kid in ("x", "y", "z"):
            assert find(keys, published, kid) == 0
        assert len(published.requests) == 4

    def test_known_keys_serve_for_a_day_while_the_issuer_is_down_and_the_log_says_so(
        self, keys: IssuerKeys, clock: Time, published: HttpsIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert find(keys, published) == 1
        published.pages["/keys"] = 503, {}, b""
        clock.now += MIN_AGE
        assert find(keys, published) == 1
        wait_until(lambda: len(warned(caplog)) == 1)
        assert warned(caplog) == [
            {"issuer": published.url, "reason": "the status is 503, not 200", "keys_age": round(MIN_AGE)}
        ]
        clock.now += MAX_STALE - 1
        assert find(keys, published) == 1
        wait_until(lambda: len(warned(caplog)) == 2)
        clock.now += PAUSE
        assert failure(keys, KeySource(published.url, None)) == "the status is 503, not 200"
        # And when it is back, so are the keys.
        published.publish()
        clock.now += PAUSE_WITHOUT_KEYS
        assert find(keys, published) == 1

    def test_a_failure_is_not_tried_again_at_once(self, keys: IssuerKeys, clock: Time, published: HttpsIssuer) -> None:
        published.pages[DISCOVERY] = 503, {}, b""
        source = KeySource(published.url, None)
        for _ in range(3):
            failure(keys, source)
        assert len(published.requests) == 1
        clock.now += PAUSE_WITHOUT_KEYS
        failure(keys, source)
        assert len(published.requests) == 2

    def test_few_issuers_are_remembered(self, keys: IssuerKeys) -> None:
        for n in range(MAX_SOURCES + 5):
            keys._state(KeySource(f"https://{n}.example", None))
        assert len(keys._known) == MAX_SOURCES


class TestWhoWaits:
    """A slow issuer holds few threads."""

    def test_one_fetches_and_others_of_the_organization_are_refused(
        self, keys: IssuerKeys, published: HttpsIssuer
    ) -> None:
        released, page = threading.Event(), published.pages["/keys"]
        published.pages["/keys"] = lambda: released.wait(PATIENCE) and page
        with ThreadPoolExecutor(FETCHES_OF_ONE + 1) as threads:
            waiting = [threads.submit(find, keys, published) for _ in range(FETCHES_OF_ONE)]
            wait_until(lambda: keys._busy[ACME] == FETCHES_OF_ONE)
            # This one has no place, whichever issuer it needs.
            assert failure(keys, KeySource(published.url, None)) == "not fetched yet"
            assert failure(keys, KeySource("https://another.example", None)) == "not fetched yet"
            # Another organization has its own.
            others = threads.submit(find, keys, published, "first", OTHER)
            wait_until(lambda: keys._busy[OTHER] == 1)
            released.set()
            assert [one.result(PATIENCE) for one in (*waiting, others)] == [1, 1, 1]
        assert published.requests == [DISCOVERY, "/keys"]
        assert not keys._busy

    def test_threads_stay_free_however_many_organizations_need_a_slow_issuer(
        self, keys: IssuerKeys, published: HttpsIssuer
    ) -> None:
        """After a start, for example, when no keys are known."""
        released, page = threading.Event(), published.pages["/keys"]
        published.pages["/keys"] = lambda: released.wait(PATIENCE) and page
        organizations = [f"org-{n}" for n in range(FETCHES_OF_ALL)]
        with ThreadPoolExecutor(FETCHES_OF_ALL) as threads:
            waiting = [threads.submit(find, keys, published, "first", name) for name in organizations]
            wait_until(lambda: keys._busy.total() == FETCHES_OF_ALL)
            assert failure(keys, KeySource(published.url, None)) == "not fetched yet"
            released.set()
            assert [one.result(PATIENCE) for one in waiting] == [1] * FETCHES_OF_ALL
        assert find(keys, published) == 1

    def test_nobody_waits_for_keys_that_are_known(self, keys: IssuerKeys, clock: Time, published: HttpsIssuer) -> None:
        assert find(keys, published) == 1
        released, page = threading.Event(), published.pages["/keys"]
        published.pages["/keys"] = lambda: released.wait(PATIENCE) and page
        clock.now += MIN_AGE
        # In this thread, while the fetch hangs.
        for _ in range(5):
            assert find(keys, published) == 1
        wait_until(lambda: len(published.requests) == 4)
        assert keys._busy[ACME] == 1
        released.set()
        wait_until(lambda: not keys._busy)
        assert len(published.requests) == 4

    def test_keys_of_two_addresses_are_never_mixed(self, keys: IssuerKeys, published: HttpsIssuer) -> None:
        """A rule that names other keys for an issuer gets them for itself alone."""
        evil = Issuer.with_curve(published.url, "evil")
        published.json("/evil", evil.jwks())
        named = KeySource(published.url, f"{published.url}/evil")
        assert len(keys.find(named, "evil", "ES256", organization_id=OTHER)) == 1
        assert find(keys, published, "evil") == 0
        assert find(keys, published) == 1
        assert keys.find(named, "first", "ES256", organization_id=OTHER) == []


class TestKeySet:
    """Which keys may verify a token."""

    def test_keys_for_something_else_are_left_out(self) -> None:
        issuer, bundle = Issuer.with_curve(), Issuer.with_curve(kid="svid")
        jwks = [
            issuer.jwk(use="enc"),
            issuer.jwk(alg="ES384"),
            issuer.jwk(alg="none"),
            issuer.jwk(key_ops=["encrypt"]),
            issuer.jwk(kid=["first"]),
            issuer.jwk(crv="P-521"),
            {"kty": "oct", "k": "AAAA", "kid": "first", "alg": "HS256"},
            "first",
            None,
            bundle.jwk(use="x509-svid", alg=None),
            bundle.jwk(use="jwt-svid", alg=None),
        ]
        assert KeySet(jwks).find("first", "ES256") == []
        assert len(KeySet(jwks).find("svid", "ES256")) == 1
        assert len(KeySet([*jwks, issuer.jwk(alg=None, use=None)]).find("first", "ES256")) == 1

    def test_a_key_that_names_no_algorithm_is_for_any_of_its_kind(self) -> None:
        jwks = [Issuer().jwk(alg=None)]
        assert [len(KeySet(jwks).find("first", alg)) for alg in ("RS256", "PS256", "ES256", "EdDSA")] == [1, 1, 0, 0]

    def test_a_token_without_kid_is_tried_with_few_of_many_keys(self) -> None:
        jwk = Issuer.with_curve().jwk()
        thousand = KeySet([jwk | {"kid": str(n)} for n in range(1000)])
        assert len(thousand.find(None, "ES256")) == MAX_KEYS_TRIED
        assert len(thousand.find("999", "ES256")) == 1

    @pytest.mark.parametrize("issuer", [Issuer.with_curve, Issuer], ids=["EC", "RSA"])
    def test_a_thousand_keys_are_too_large_to_fetch(
        self, keys: IssuerKeys, published: HttpsIssuer, issuer: Callable[[], Issuer]
    ) -> None:
        jwk = issuer().jwk()
        body = json.dumps({"keys": [jwk | {"kid": str(n)} for n in range(1000)]}).encode()
        published.pages["/keys"] = 200, {}, body
        assert failure(keys, KeySource(published.url, None)) == f"the response has more than {MAX_BODY} bytes"


def test_constants_of_the_module_are_in_order() -> None:
    assert PAUSE_WITHOUT_KEYS < PAUSE < MIN_AGE < MAX_AGE
