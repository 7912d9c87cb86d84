"""What is fetched of an issuer, when, and for whom."""

from __future__ import annotations

import contextlib
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_network
from typing import Any

import pytest

from agentidp.federation.issuer_keys import (
    FETCHES,
    FETCHES_OF_ONE,
    FETCHES_OF_SLOW,
    MAX_AGE,
    MAX_BODY,
    MAX_KEYS,
    MAX_KEYS_TRIED,
    MAX_PARSED,
    MAX_PROVEN,
    MAX_PROVEN_OF_ONE,
    MAX_STALE,
    MIN_AGE,
    PAUSE,
    PAUSE_WITHOUT_KEYS,
    RETRY_AFTER,
    SLOW,
    SLOW_FOR,
    WAITING,
    WAITING_OF_ONE,
    IssuerKeys,
    KeySet,
    KeySource,
    KeysUnavailable,
    Known,
    Use,
    forget,
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


def unavailable(keys: IssuerKeys, source: KeySource, organization: str = ACME, kid: str = "first") -> KeysUnavailable:
    """Why no keys can be found."""
    with pytest.raises(KeysUnavailable) as failed:
        keys.find(source, kid, "ES256", organization_id=organization)
    return failed.value


def failure(keys: IssuerKeys, source: KeySource) -> str:
    """The same in the words of the log."""
    return str(unavailable(keys, source))


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
        self, published: HttpsIssuer, clock: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        keys = IssuerKeys(AllowedNetworks(LOOPBACK, plain=(), setting=None), clock, timeout=0.2)
        released = threading.Event()
        published.pages["/keys"] = lambda: released.wait(PATIENCE) and (200, {}, b"{}")
        try:
            unavailable(keys, KeySource(published.url, None))
            wait_until(lambda: len(warned(caplog)) == 1)
            assert warned(caplog)[0]["reason"].startswith("no response within")
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

    def test_an_unknown_key_cannot_be_judged_while_the_issuer_is_down(
        self, keys: IssuerKeys, clock: Time, published: HttpsIssuer
    ) -> None:
        """It may be a new one."""
        assert find(keys, published) == 1
        published.pages["/keys"] = 503, {}, b""
        clock.now += PAUSE
        for _ in range(2):
            found = unavailable(keys, KeySource(published.url, None), kid="second")
            assert (found.cause, found.retry_after) == ("failed", PAUSE)
        assert find(keys, published) == 1
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

    def test_keys_of_two_addresses_are_never_mixed(self, keys: IssuerKeys, published: HttpsIssuer) -> None:
        """A rule that names other keys for an issuer gets them for itself alone."""
        evil = Issuer.with_curve(published.url, "evil")
        published.json("/evil", evil.jwks())
        named = KeySource(published.url, f"{published.url}/evil")
        assert len(keys.find(named, "evil", "ES256", organization_id=OTHER)) == 1
        assert find(keys, published, "evil") == 0
        assert find(keys, published) == 1
        assert keys.find(named, "first", "ES256", organization_id=OTHER) == []


class TestMemory:
    """Which sources are forgotten, and for which others."""

    def flood(self, keys: IssuerKeys, published: HttpsIssuer, *, have_verified: bool) -> None:
        """Three organizations have rules with 800 sources each, and somebody else's workload works meanwhile."""
        for n in range(800):
            for organization in ("org-1", "org-2", "org-3"):
                # Nothing is sent there.
                source = KeySource(f"http://{organization}-{n}.example", None)
                unavailable(keys, source, organization)
                if have_verified:
                    keys.verified(source, organization_id=organization)
            if n % 10 == 0:
                assert find(keys, published) == 1

    @pytest.mark.parametrize("asked_first", [ACME, "org-1"])
    @pytest.mark.parametrize("have_verified", [False, True])
    def test_keys_that_work_stay_whatever_others_do(
        self, keys: IssuerKeys, published: HttpsIssuer, have_verified: bool, asked_first: str
    ) -> None:
        assert find(keys, published, organization=asked_first) == 1
        assert find(keys, published) == 1
        keys.verified(KeySource(published.url, None), organization_id=ACME)
        self.flood(keys, published, have_verified=have_verified)
        assert published.requests == [DISCOVERY, "/keys"]

    def test_keys_that_were_just_fetched_stay_whatever_others_do(
        self, keys: IssuerKeys, published: HttpsIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert find(keys, published) == 1
        self.flood(keys, published, have_verified=False)
        assert published.requests == [DISCOVERY, "/keys"]
        # What others used first is forgotten, and so is that it has failed.
        failures = len(warned(caplog))
        unavailable(keys, KeySource("http://org-1-0.example", None), "org-1")
        assert len(warned(caplog)) == failures + 1

    def test_a_source_of_many_organizations_takes_one_place(self, keys: IssuerKeys, published: HttpsIssuer) -> None:
        """GitHub's, for example."""
        for n in range(MAX_PROVEN + 1):
            source = KeySource(published.url if n == 0 else "http://shared.example", None)
            with contextlib.suppress(KeysUnavailable):
                keys.find(source, "first", "ES256", organization_id=f"org-{n}")
            keys.verified(source, organization_id=f"org-{n}")
        assert find(keys, published, organization="org-0") == 1
        assert published.requests == [DISCOVERY, "/keys"]

    def test_an_organization_has_a_share_and_keeps_what_it_used_last(
        self, keys: IssuerKeys, published: HttpsIssuer
    ) -> None:
        def use(n: int) -> None:
            path = f"/keys?{n}"
            published.pages[path] = published.pages["/keys"]
            source = KeySource("https://issuer.example", published.url + path)
            assert len(keys.find(source, "first", "ES256", organization_id=ACME)) == 1
            keys.verified(source, organization_id=ACME)

        for n in (*range(MAX_PROVEN_OF_ONE), 0, MAX_PROVEN_OF_ONE):
            use(n)
        published.requests.clear()
        for n in (0, *range(2, MAX_PROVEN_OF_ONE + 1)):
            use(n)
        assert published.requests == []
        use(1)
        assert published.requests == ["/keys?1"]

    @pytest.mark.parametrize(
        ("sources", "kept"),
        [
            ("a1 a2 b1", "a1 a2 b1"),
            ("a1 b1 a2 a3", "b1 a2 a3"),
            ("a1 b1 a2 b2 c1 d1 c2 d2", "a1 b1 a2 b2 c1 d1 c2 d2"),
            ("a1 b1 b2 c1 d1 c2 d2 e1 f1", "a1 b2 c1 d1 c2 d2 e1 f1"),
        ],
    )
    def test_the_first_one_of_whoever_has_most_is_forgotten(self, sources: str, kept: str) -> None:
        known = {Use(name[0], KeySource(name, None)): Known() for name in sources.split()}
        forget(known, 8, 2)
        assert [use.source.issuer for use in known] == kept.split()


class Slow:
    """Addresses of keys that respond when the test says so.

    :param published: whose they are.
    """

    def __init__(self, published: HttpsIssuer) -> None:
        self._published, self._released = published, threading.Event()
        self._page = published.pages["/keys"]

    def source(self, name: str) -> KeySource:
        """An address of its own."""
        self._published.pages[f"/slow/{name}"] = self._late
        return KeySource(self._published.url, f"{self._published.url}/slow/{name}")

    @property
    def asked(self) -> list[str]:
        """Which of them were asked."""
        return [path.removeprefix("/slow/") for path in self._published.requests if path.startswith("/slow/")]

    def release(self) -> None:
        """Let all respond."""
        self._released.set()

    def _late(self) -> Any:
        self._released.wait(PATIENCE)
        return self._page


@pytest.fixture
def slow(published: HttpsIssuer) -> Iterator[Slow]:
    """Slow addresses at the issuer."""
    made = Slow(published)
    yield made
    made.release()


class TestWhoWaits:
    """Few requests wait, and few fetches are anybody's."""

    @pytest.fixture
    def keys(self, clock: Time) -> IssuerKeys:
        """Keys for which a test may take its time."""
        networks = AllowedNetworks(LOOPBACK, plain=(), setting="AGENTIDP_ISSUER_NETWORKS")
        return IssuerKeys(networks, clock, timeout=PATIENCE)

    @pytest.fixture
    def begin(self, keys: IssuerKeys, slow: Slow) -> Iterator[Callable[[str, str], Future[int]]]:
        """Ask for the keys of a slow source, and go on when it is asked."""

        def use(organization: str, name: str) -> int:
            try:
                return len(keys.find(slow.source(name), "first", "ES256", organization_id=organization))
            except KeysUnavailable as missing:
                assert (missing.cause, missing.retry_after) == ("fetching", RETRY_AFTER)
                return 0

        def begun(organization: str, name: str) -> Future[int]:
            request = threads.submit(use, organization, name)
            wait_until(lambda: name in slow.asked)
            return request

        with ThreadPoolExecutor(WAITING + 5) as threads:
            yield begun
            slow.release()

    def test_requests_for_the_same_keys_share_a_fetch(
        self,
        keys: IssuerKeys,
        published: HttpsIssuer,
        clock: Time,
        slow: Slow,
        begin: Callable[[str, str], Future[int]],
    ) -> None:
        """Two wait, and the others are told to come again."""
        requests = [begin(ACME, "one") for _ in range(WAITING_OF_ONE + 5)]
        wait_until(lambda: sum(one.done() for one in requests) == 5)
        # The organization has a place for another fetch, and for one only.
        assert unavailable(keys, slow.source("two")).cause == "fetching"
        wait_until(lambda: slow.asked == ["one", "two"])
        assert unavailable(keys, slow.source("three")).cause == "crowded"
        # Others have their own.
        assert find(keys, published, organization=OTHER) == 1
        # And nobody begins a second one, however long it takes.
        clock.now += PAUSE_WITHOUT_KEYS
        assert unavailable(keys, slow.source("one")).cause == "fetching"
        assert slow.asked == ["one", "two"]
        slow.release()
        assert sorted(one.result(PATIENCE) for one in requests) == [0] * 5 + [1] * WAITING_OF_ONE

    def test_threads_stay_free_however_many_organizations_need_a_slow_issuer(
        self, keys: IssuerKeys, published: HttpsIssuer, begin: Callable[[str, str], Future[int]]
    ) -> None:
        """After a start, for example, when no keys are known. What nobody waits for is fetched all the same."""
        waiting = [begin(f"org-{n}", "one") for n in range(WAITING)]
        assert unavailable(keys, KeySource(published.url, None)).cause == "fetching"
        wait_until(lambda: is_there(keys, published))
        assert not any(one.done() for one in waiting)

    def test_nobody_waits_for_an_organization_that_had_a_slow_fetch(
        self,
        keys: IssuerKeys,
        published: HttpsIssuer,
        clock: Time,
        slow: Slow,
        begin: Callable[[str, str], Future[int]],
    ) -> None:
        waiting = begin(ACME, "one")
        clock.now += SLOW
        # While the fetch goes on, and after it.
        assert unavailable(keys, slow.source("two")).cause == "fetching"
        slow.release()
        assert waiting.result(PATIENCE) == 1
        source = KeySource(published.url, None)
        assert unavailable(keys, source).cause == "fetching"
        wait_until(lambda: is_there(keys, published))
        assert find(keys, published, organization=OTHER) == 1
        # Until it is long ago.
        clock.now += SLOW_FOR
        assert find(keys, published, "unknown") == 0

    def test_a_quick_fetch_is_not_slow_because_it_was_long_ago(
        self,
        keys: IssuerKeys,
        published: HttpsIssuer,
        clock: Time,
        slow: Slow,
        begin: Callable[[str, str], Future[int]],
    ) -> None:
        begin(OTHER, "one")
        assert find(keys, published) == 1
        clock.now += SLOW
        waiting = begin(ACME, "one")
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        slow.release()
        assert waiting.result(PATIENCE) == 1

    def test_slow_organizations_leave_half_of_the_fetches_to_others(
        self, keys: IssuerKeys, clock: Time, slow: Slow, begin: Callable[[str, str], Future[int]]
    ) -> None:
        def cause(organization: str, name: str) -> str:
            return unavailable(keys, slow.source(name), organization).cause

        for n in range(WAITING):
            begin(f"slow-{n}", f"{n}")
        clock.now += SLOW
        more = [cause(f"slow-{n}", f"{n}-again") for n in range(FETCHES_OF_SLOW - WAITING + 1)]
        assert more == ["fetching"] * (FETCHES_OF_SLOW - WAITING) + ["crowded"]
        others = [cause(f"org-{n // FETCHES_OF_ONE}", f"other-{n}") for n in range(FETCHES - FETCHES_OF_SLOW + 1)]
        assert others == ["fetching"] * (FETCHES - FETCHES_OF_SLOW) + ["crowded"]

    def test_nobody_waits_for_keys_that_are_known(
        self, keys: IssuerKeys, clock: Time, published: HttpsIssuer, slow: Slow
    ) -> None:
        assert find(keys, published) == 1
        slow.source("keys")
        published.pages["/keys"] = published.pages["/slow/keys"]
        clock.now += MIN_AGE
        # In this thread, while the fetch hangs.
        for _ in range(5):
            assert find(keys, published) == 1
        wait_until(lambda: len(published.requests) == 4)
        slow.release()
        clock.now += MIN_AGE - 1
        wait_until(lambda: find(keys, published) and len(published.requests) == 4)


def is_there(keys: IssuerKeys, published: HttpsIssuer) -> bool:
    """Whether the keys are known."""
    try:
        return find(keys, published) == 1
    except KeysUnavailable:
        return False


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
        many = KeySet([jwk | {"kid": str(n)} for n in range(MAX_KEYS + 1)])
        assert len(many.find(None, "ES256")) == MAX_KEYS_TRIED
        assert len(many.find(str(MAX_KEYS - 1), "ES256")) == 1
        assert many.find(str(MAX_KEYS), "ES256") == []
        # And few are kept ready for use.
        [first], _ = many.find("0", "ES256"), [many.find(str(n + 1), "ES256") for n in range(MAX_PARSED)]
        assert many.find("0", "ES256")[0] is not first

    def test_takes_little_memory_whatever_the_issuer_sends(self) -> None:
        """As objects, the largest response takes 1.6 MB."""
        sent = b"[" + b",".join([b"{}"] * (MAX_BODY // 3)) + b"]"
        tracemalloc.start()
        keys = KeySet(json.loads(sent))
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert keys.find(None, "ES256") == []
        assert size < 2 * MAX_BODY

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
