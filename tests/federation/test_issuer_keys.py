"""When the keys and metadata of an issuer are fetched, for which organizations, and which are remembered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_network
from typing import Any

import pytest

from agentidp.federation import issuer_keys
from agentidp.federation.issuer_documents import MAX_AGE, MAX_BODY, MIN_AGE
from agentidp.federation.issuer_keys import (
    MAX_FETCHES,
    MAX_FETCHES_OF_SLOW,
    MAX_FETCHES_PER_ORGANIZATION,
    MAX_STALE,
    MAX_WAITING,
    MAX_WAITING_PER_ORGANIZATION,
    PAUSE,
    PAUSE_WITHOUT_KEYS,
    RETRY_AFTER,
    SLOW,
    SLOW_FOR,
    IssuerKeys,
    KeysUnavailable,
    SourceState,
    Use,
    forget_uses,
)
from agentidp.federation.key_set import KeySource
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from agentidp.outbound.client import find_proxy
from agentidp.outbound.networks import LOOPBACK, OPERATOR_NETWORKS, AllowedNetworks
from agentidp.outbound.places import MAX_WAITED, SECONDS_TO_FORGET
from tests.factories import PATIENCE, wait_until
from tests.federation.https_issuer import DISCOVERY, HttpsIssuer
from tests.federation.issuer import Issuer
from tests.helpers.outbound_server import responding, server

ACME, OTHER = "org-acme", "org-other"
TOO_LARGE = f"the response has more than {MAX_BODY} bytes"


class Process:
    """The keys of a process, and an issuer that publishes keys. The process may connect to the loopback. Only the test
    moves its clock. Addresses of ``late`` keys respond after :meth:`release`.
    """

    def __init__(self, published: HttpsIssuer, timeout: float = PATIENCE) -> None:
        self.published, self.now = published, 1000.0
        self.source = KeySource(published.url, None)
        self.keys = self.restricted(LOOPBACK, timeout=timeout)
        self._released, self._page = threading.Event(), published.pages["/keys"]

    def restricted(self, allowed: Any, **more: Any) -> IssuerKeys:
        """Return the keys of a process that may connect to these networks only."""
        networks = AllowedNetworks(allowed, plain=(), setting="AGENTIDP_ISSUER_NETWORKS")
        return IssuerKeys(networks, lambda: self.now, **more)

    def find(self, kid: str | None = "first", source: KeySource | None = None, organization: str = ACME) -> int:
        """Return the number of keys that are found."""
        return len(self.keys.find_keys(source or self.source, kid, "ES256", organization_id=organization))

    def unavailable(
        self, source: KeySource | None = None, organization: str = ACME, kid: str = "first"
    ) -> KeysUnavailable:
        """Return the error of a search that finds no keys."""
        with pytest.raises(KeysUnavailable) as failed:
            self.find(kid, source, organization)
        return failed.value

    def failure(self, source: KeySource | None = None) -> str:
        """Return the message of :meth:`unavailable`."""
        return str(self.unavailable(source))

    def is_there(self) -> bool:
        """Return whether the keys are remembered."""
        with contextlib.suppress(KeysUnavailable):
            return self.find() == 1
        return False

    @property
    def asked(self) -> list[str]:
        """The paths that were requested from the issuer."""
        return self.published.requests

    def late(self, name: str) -> KeySource:
        """Return the source of late keys."""
        self.published.pages[f"/late/{name}"] = self._late
        return KeySource(self.published.url, f"{self.published.url}/late/{name}")

    def _late(self) -> Any:
        self._released.wait(PATIENCE)
        return self._page

    @property
    def asked_late(self) -> list[str]:
        """The names of the late keys that were requested."""
        return [path.removeprefix("/late/") for path in self.asked if path.startswith("/late/")]

    def cause(self, name: str, organization: str = ACME) -> str:
        """Return the cause of a failed search for late keys."""
        return self.unavailable(self.late(name), organization).cause

    def release(self) -> None:
        """Let the addresses of late keys respond."""
        self._released.set()

    def hold(self) -> None:
        """Let further requests of late keys wait again."""
        self._released.clear()


@pytest.fixture
def process(published: HttpsIssuer) -> Iterator[Process]:
    """A process that has just started."""
    made = Process(published)
    yield made
    made.release()


def warned(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The log lines about keys that were not fetched."""
    return [record.fields for record in caplog.records if record.getMessage() == "keys of an issuer not fetched"]  # type: ignore[attr-defined]


class TestDiscovery:
    """Keys are found by OpenID Connect Discovery, or by their address."""

    @pytest.mark.parametrize("path", ["/tenant", "/tenant/", "/"])
    def test_a_closing_slash_belongs_to_the_name_and_not_to_the_address(self, process: Process, path: str) -> None:
        process.published.publish(path=path)
        assert process.find(source=KeySource(process.published.url + path, None)) == 1
        assert process.asked[0] == path.rstrip("/") + DISCOVERY

    @pytest.mark.parametrize("other", ["", "/", "/tenant-b"])
    def test_the_metadata_must_be_that_issuers(self, process: Process, other: str) -> None:
        """The metadata may be of another tenant, for example, or of an issuer with a closing slash."""
        url = process.published.url
        process.published.json(f"/tenant-a{DISCOVERY}", {"issuer": url + other, "jwks_uri": f"{url}/keys"})
        assert process.failure(KeySource(f"{url}/tenant-a", None)) == "the metadata is of another issuer"

    @pytest.mark.parametrize(
        ("page", "reason"),
        [
            ((500, {}, b"{}"), "the status is 500, not 200"),
            ((302, {"Location": "https://elsewhere.example/"}, b""), "the status is 302, not 200"),
            *[((200, {}, body), "the response is not a JSON object") for body in (b"<html>", b"[]", b"[" * 50_000)],
            *[((200, {}, b" " * size), TOO_LARGE) for size in (MAX_BODY + 1, 10_000_000)],
        ],
        ids=lambda value: str(value)[:40],
    )
    @pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
    def test_what_is_wrong_is_refused(self, process: Process, path: str, page: Any, reason: str) -> None:
        process.published.pages[path] = page
        assert process.failure() == reason

    @pytest.mark.parametrize(
        ("path", "body", "reason"),
        [
            *[(DISCOVERY, metadata, "the metadata has no jwks_uri") for metadata in ({}, {"jwks_uri": ["x"]})],
            *[
                (DISCOVERY, {"jwks_uri": uri}, "the address is not an https URL")
                for uri in ("http://localhost/keys", "https://user@localhost/keys", "file:///etc/passwd", "https://[x/")
            ],
            *[("/keys", body, "the response is not a JWK Set") for body in ({}, {"keys": {}}, {"keys": None})],
        ],
        ids=str,
    )
    def test_the_keys_are_a_jwk_set_at_an_https_address(
        self, process: Process, path: str, body: dict[str, Any], reason: str
    ) -> None:
        process.published.json(path, {"issuer": process.published.url} | body)
        assert process.failure() == reason

    def test_no_private_address_unless_the_operator_allows_it(
        self, process: Process, caplog: pytest.LogCaptureFixture
    ) -> None:
        refused = "the address is not public, and AGENTIDP_ISSUER_NETWORKS does not allow it"
        for allowed in (None, (ip_network("10.0.0.0/8"),)):
            process.keys = process.restricted(allowed)
            assert process.failure() == refused
        assert process.asked == []
        assert warned(caplog) == [{"issuer": process.published.url, "reason": refused}] * 2

    def test_a_proxy_leads_to_an_issuer_that_the_operator_names(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The environment names the proxy. The provider at which people sign in uses it."""
        heard: list[bytes] = []
        with server(responding(b"HTTP/1.1 403 No\r\n\r\n", heard)) as port:
            for name, value in (("https_proxy", f"http://127.0.0.1:{port}"), ("no_proxy", "")):
                monkeypatch.setenv(name, value)
                monkeypatch.setenv(name.upper(), value)
            process.keys = IssuerKeys(OPERATOR_NETWORKS, proxy=find_proxy)
            assert process.failure() == "no connection: OSError"
        assert heard[0].startswith(f"CONNECT localhost:{process.published.port} HTTP/1.".encode())
        assert process.asked == []


class TestFreshness:
    """Keys are cached for a time, and then fetched again."""

    @pytest.mark.parametrize(
        ("cache_control", "age"),
        [
            *[(value, MIN_AGE) for value in (None, "no-store", "max-age=0", "max-age=nonsense")],
            ("public, max-age=3600, must-revalidate", 3600),
            ("s-maxage=7200, max-age=900", 900),
            ("Max-Age=3600", 3600),
            ("max-age=999999999", MAX_AGE),
        ],
    )
    def test_is_that_of_the_response_within_bounds(
        self, process: Process, cache_control: str | None, age: float
    ) -> None:
        process.published.publish(cache_control=cache_control)
        assert process.find() == 1
        process.now += age - 1
        assert process.find() == 1
        assert len(process.asked) == 2
        process.now += 1
        assert process.find() == 1
        wait_until(lambda: len(process.asked) == 4)

    def test_an_unknown_key_is_looked_for_once_a_minute(self, process: Process) -> None:
        assert [process.find(kid) for kid in ("first", "x", "y", "z")] == [1, 0, 0, 0]
        process.now += PAUSE - 0.1
        assert process.find("x") == 0
        assert len(process.asked) == 2
        process.now += 0.1
        assert [process.find(kid) for kid in "xyz"] == [0, 0, 0]
        assert len(process.asked) == 4
        # A rotation is noticed as soon as a token names the new key.
        process.published.publish(Issuer.with_curve(process.published.url, "second").jwk())
        process.now += PAUSE
        assert [process.find(kid) for kid in ("second", "first")] == [1, 0]

    def test_an_unknown_key_cannot_be_judged_while_the_issuer_is_down(self, process: Process) -> None:
        """It may be a new key."""
        assert process.find() == 1
        process.published.pages["/keys"] = 503, {}, b""
        process.now += PAUSE
        for _ in range(2):
            unavailable = process.unavailable(kid="second")
            assert (unavailable.cause, unavailable.retry_after) == ("failed", PAUSE)
        assert process.find() == 1
        assert len(process.asked) == 4

    def test_known_keys_serve_for_a_day_while_the_issuer_is_down_and_the_log_says_so(
        self, process: Process, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert process.find() == 1
        process.published.pages["/keys"] = 503, {}, b""
        process.now += MIN_AGE
        assert process.find() == 1
        wait_until(lambda: len(warned(caplog)) == 1)
        line = {"issuer": process.published.url, "reason": "the status is 503, not 200", "keys_age": round(MIN_AGE)}
        assert warned(caplog) == [line]
        process.now += MAX_STALE - 1
        assert process.find() == 1
        wait_until(lambda: len(warned(caplog)) == 2)
        process.now += PAUSE
        assert process.failure() == "the status is 503, not 200"
        # The keys are fetched again when the issuer responds again.
        process.published.publish()
        process.now += PAUSE_WITHOUT_KEYS
        assert process.find() == 1

    def test_keys_of_two_addresses_are_never_mixed(self, process: Process) -> None:
        """Only a rule that names another address for an issuer's keys uses the keys at this address."""
        url = process.published.url
        process.published.json("/evil", Issuer.with_curve(url, "evil").jwks())
        named = KeySource(url, f"{url}/evil")
        assert [process.find(kid, named, OTHER) for kid in ("evil", "first")] == [1, 0]
        assert [process.find(kid) for kid in ("evil", "first")] == [0, 1]


MAXIMA = ("MAX_PROVEN", "MAX_UNPROVEN", "MAX_PROVEN_PER_ORGANIZATION", "MAX_UNPROVEN_PER_ORGANIZATION")


class TestMemory:
    """A process forgets key sources in favor of others."""

    @pytest.fixture(autouse=True)
    def _fewer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Remember a tenth of the sources, so that a tenth of them is too many."""
        for name in MAXIMA:
            monkeypatch.setattr(issuer_keys, name, getattr(issuer_keys, name) // 10)

    def flood(self, process: Process, *, have_verified: bool) -> None:
        """Three organizations have rules with 80 sources each, while another organization's workload gets tokens."""
        for n in range(80):
            for organization in ("org-1", "org-2", "org-3"):
                # No request is sent to these addresses.
                source = KeySource(f"http://{organization}-{n}.example", None)
                process.unavailable(source, organization)
                if have_verified:
                    process.keys.mark_proven(source, organization_id=organization)
            if n % 10 == 0:
                assert process.find() == 1

    @pytest.mark.parametrize("asked_first", [ACME, "org-1"])
    @pytest.mark.parametrize("have_verified", [False, True])
    def test_keys_that_work_stay_whatever_others_do(
        self, process: Process, have_verified: bool, asked_first: str
    ) -> None:
        assert process.find(organization=asked_first) == 1
        assert process.find() == 1
        process.keys.mark_proven(process.source, organization_id=ACME)
        self.flood(process, have_verified=have_verified)
        assert process.asked == [DISCOVERY, "/keys"]

    def test_keys_that_were_just_fetched_stay_whatever_others_do(
        self, process: Process, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert process.find() == 1
        self.flood(process, have_verified=False)
        assert process.asked == [DISCOVERY, "/keys"]
        # The sources that other organizations used first are forgotten, with their failures.
        failures = len(warned(caplog))
        process.unavailable(KeySource("http://org-1-0.example", None), "org-1")
        assert len(warned(caplog)) == failures + 1

    def test_a_source_of_many_organizations_takes_one_place(self, process: Process) -> None:
        for n in range(issuer_keys.MAX_PROVEN + 1):
            source = process.source if n == 0 else KeySource("http://shared.example", None)
            with contextlib.suppress(KeysUnavailable):
                process.find(source=source, organization=f"org-{n}")
            process.keys.mark_proven(source, organization_id=f"org-{n}")
        assert process.find(organization="org-0") == 1
        assert process.asked == [DISCOVERY, "/keys"]

    def test_an_organization_has_a_share_and_keeps_what_it_used_last(self, process: Process) -> None:
        def use(n: int) -> None:
            path = f"/keys?{n}"
            process.published.pages[path] = process.published.pages["/keys"]
            source = KeySource("https://issuer.example", process.published.url + path)
            assert process.find(source=source) == 1
            process.keys.mark_proven(source, organization_id=ACME)

        share = issuer_keys.MAX_PROVEN_PER_ORGANIZATION
        for n in (*range(share), 0, share):
            use(n)
        process.asked.clear()
        for n in (0, *range(2, share + 1)):
            use(n)
        assert process.asked == []
        use(1)
        assert process.asked == ["/keys?1"]

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
        states = {Use(name[0], KeySource(name, None)): SourceState(KeySource(name, None)) for name in sources.split()}
        forget_uses(states, 8, 2)
        assert [use.source.issuer for use in states] == kept.split()


class Requests:
    """Requests that need missing keys at the same time."""

    def __init__(self, process: Process, threads: ThreadPoolExecutor) -> None:
        self._process, self._threads = process, threads

    def begin(self, organization: str, name: str) -> Future[int]:
        """Begin a search, and return when the issuer has got the request. The result is the number of keys, or 0."""
        request = self._threads.submit(self._use, organization, name)
        wait_until(lambda: name in self._process.asked_late)
        return request

    def _use(self, organization: str, name: str) -> int:
        try:
            return self._process.find(source=self._process.late(name), organization=organization)
        except KeysUnavailable as missing:
            assert (missing.cause, missing.retry_after) == ("fetching", RETRY_AFTER)
            return 0


@contextlib.contextmanager
def places_of(process: Process, organizations: list[str]) -> Iterator[list[str]]:
    """Take a place for each exchange of these organizations, if it gets one. Yields the organizations that got one."""
    taken = []
    with contextlib.ExitStack() as places:
        for organization in organizations:
            if places.enter_context(process.keys.places.reserve(organization)):
                taken.append(organization)
        yield taken


class TestWhoWaits:
    """The numbers of waiting requests and of fetches are bounded, per process and per organization."""

    @pytest.fixture
    def requests(self, process: Process) -> Iterator[Requests]:
        """Requests in threads of their own."""
        with ThreadPoolExecutor(MAX_WAITING + 5) as threads:
            yield Requests(process, threads)
            process.release()

    def test_requests_for_the_same_keys_share_a_fetch(self, process: Process, requests: Requests) -> None:
        """Two requests wait, and the others are asked to retry."""
        begun = [requests.begin(ACME, "one") for _ in range(MAX_WAITING_PER_ORGANIZATION + 5)]
        wait_until(lambda: sum(future.done() for future in begun) == 5)
        # The organization may have exactly one further fetch.
        assert process.cause("two") == "fetching"
        wait_until(lambda: process.asked_late == ["one", "two"])
        assert process.cause("three") == "crowded"
        # Another organization has fetches of its own.
        assert process.find(organization=OTHER) == 1
        # No request begins a second fetch of the same keys, however long the first one takes.
        process.now += PAUSE_WITHOUT_KEYS
        assert process.cause("one") == "fetching"
        assert process.asked_late == ["one", "two"]
        process.release()
        assert sorted(future.result(PATIENCE) for future in begun) == [0] * 5 + [1] * MAX_WAITING_PER_ORGANIZATION

    def test_threads_stay_free_however_many_organizations_need_a_slow_issuer(
        self, process: Process, requests: Requests
    ) -> None:
        """For example, a process that has just started has no keys. Keys are fetched even if no request waits."""
        waiting = [requests.begin(f"org-{n}", "one") for n in range(MAX_WAITING)]
        assert process.unavailable().cause == "fetching"
        wait_until(process.is_there)
        assert not any(future.done() for future in waiting)

    def test_an_organization_gets_a_second_place_only_while_half_of_all_are_free(self, process: Process) -> None:
        """Three organizations with providers that respond after almost three seconds would take all places."""
        colluding = ["org-a", "org-b", "org-c"]
        with places_of(process, colluding * MAX_WAITING_PER_ORGANIZATION + [ACME, OTHER]) as taken:
            assert taken == [*colluding, ACME, OTHER]

    def test_organizations_with_slow_providers_cannot_always_occupy_all_places(self, process: Process) -> None:
        """Their providers respond just before they count as slow."""
        colluding = [f"org-{n}" for n in range(MAX_WAITING)]
        with places_of(process, colluding) as taken:
            assert taken == colluding
            process.now += SLOW - 0.1
        # A quick request does not shorten the pause after a slow one.
        with places_of(process, colluding[-1:]):
            pass
        with places_of(process, colluding * MAX_WAITING_PER_ORGANIZATION + [ACME, OTHER]) as taken:
            assert taken == [*colluding[: MAX_WAITING // 2], ACME, OTHER]
        process.now += SECONDS_TO_FORGET * SLOW
        with places_of(process, colluding) as taken:
            assert taken == colluding

    def test_quick_exchanges_do_not_keep_an_organization_out(self, process: Process) -> None:
        """A stranger can send wrong codes to the provider of an organization while others occupy half of the places."""
        with places_of(process, [f"org-{n}" for n in range(MAX_WAITING // 2)]):
            for _ in range(MAX_FAILURES_PER_MINUTE):
                with places_of(process, [ACME]) as taken:
                    assert taken == [ACME]
                    process.now += MAX_WAITED / MAX_FAILURES_PER_MINUTE
            with places_of(process, [ACME]) as taken:
                assert taken == [ACME]
                process.now += 0.5
            with places_of(process, [ACME]) as taken:
                assert taken == []

    def test_waiting_while_places_are_free_does_not_keep_an_organization_out_for_long(self, process: Process) -> None:
        for _ in range(100):
            with places_of(process, [ACME]):
                process.now += 1
        process.now += SECONDS_TO_FORGET
        with places_of(process, [*(f"org-{n}" for n in range(MAX_WAITING // 2)), ACME]) as taken:
            assert ACME in taken

    def test_nobody_waits_for_an_organization_that_had_a_slow_fetch(self, process: Process, requests: Requests) -> None:
        waiting = requests.begin(ACME, "one")
        process.now += SLOW
        # The organization counts as slow during the fetch and after it.
        assert process.cause("two") == "fetching"
        process.release()
        assert waiting.result(PATIENCE) == 1
        process.hold()
        assert process.cause("three") == "fetching"
        process.release()
        wait_until(process.is_there)
        assert process.find(organization=OTHER) == 1
        # After ten minutes the organization no longer counts as slow.
        process.now += SLOW_FOR
        assert process.find("unknown") == 0

    def test_a_quick_fetch_is_not_slow_because_it_was_long_ago(self, process: Process, requests: Requests) -> None:
        requests.begin(OTHER, "one")
        assert process.find() == 1
        process.now += SLOW
        waiting = requests.begin(ACME, "one")
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        process.release()
        assert waiting.result(PATIENCE) == 1

    def test_slow_organizations_leave_half_of_the_fetches_to_others(self, process: Process, requests: Requests) -> None:
        for n in range(MAX_WAITING):
            requests.begin(f"slow-{n}", f"{n}")
        process.now += SLOW
        more = [process.cause(f"{n}-again", f"slow-{n}") for n in range(MAX_FETCHES_OF_SLOW - MAX_WAITING + 1)]
        assert more == ["fetching"] * (MAX_FETCHES_OF_SLOW - MAX_WAITING) + ["crowded"]
        left = MAX_FETCHES - MAX_FETCHES_OF_SLOW
        others = [process.cause(f"other-{n}", f"org-{n // MAX_FETCHES_PER_ORGANIZATION}") for n in range(left + 1)]
        assert others == ["fetching"] * left + ["crowded"]

    def test_nobody_waits_for_keys_that_are_known(self, process: Process) -> None:
        assert process.find() == 1
        process.late("keys")
        process.published.pages["/keys"] = process.published.pages["/late/keys"]
        process.now += MIN_AGE
        # This thread goes on while the fetch hangs.
        for _ in range(5):
            assert process.find() == 1
        wait_until(lambda: len(process.asked) == 4)
        process.release()
        process.now += MIN_AGE - 1
        wait_until(lambda: process.find() and len(process.asked) == 4)
