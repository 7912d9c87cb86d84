"""Fetch the keys and the metadata of other issuers, and remember them within bounds.

A fetch runs in a thread of its own, and goes on if no request waits for it. Few requests wait; others that need missing
keys are told when to ask again. Keys that are no longer fresh are used while they are fetched again.

No organization may crowd out others. Each has few fetches and few waiting requests at a time. Organizations with slow
issuers get at most half of the fetches, and their requests do not wait. Keys that have verified a token are forgotten
only in favour of other such keys. The organization with the most keys loses keys first.

Keys are remembered by their address, so that rules with different addresses for an issuer never share keys.
Organizations whose rules name the same address share the fetched keys, but no organization can make another's use of
them be forgotten. Rules of trust share one :class:`IssuerKeys`. The provider of the dashboard's sign-in has its own,
because the operator names it: the provider may be at a private address or behind a proxy.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import repeat
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit
from weakref import WeakValueDictionary

import jwt

from agentidp.config import LOOPBACK_HOSTS
from agentidp.jose.assertion import MAX_SIGNATURES
from agentidp.jose.jwk import key_algorithm, key_algorithms, public_jwk
from agentidp.metrics import ISSUER_KEY_FETCHES, ISSUER_KEYS_MISSING
from agentidp.outbound.client import RequestFailed, request
from agentidp.outbound.networks import AllowedNetworks

MAX_KEYS, MAX_PARSED = 500, 10
"""Maximum keys of an issuer that are remembered as text, more than fit in :data:`MAX_BODY` bytes; and maximum pairs of
``kid`` and ``alg`` whose keys are remembered ready for use."""

TIMEOUT = 5.0
"""Maximum seconds to fetch an issuer's metadata and keys, without the time to resolve names. No request waits
longer."""

MAX_BODY = 64 * 1024
"""Maximum bytes of a response. The keys of a large provider take about 10 KB."""

MIN_AGE, MAX_AGE = 300.0, 86_400.0
"""Minimum and maximum seconds for which keys are fresh. Within these bounds, ``max-age`` of the response decides."""

MAX_STALE = 86_400.0
"""Maximum seconds for which keys are used after they were fresh, if the issuer cannot be reached."""

PAUSE = 60.0
"""Minimum seconds between two fetches of the same keys, also if tokens name unknown keys."""

PAUSE_WITHOUT_KEYS = 10.0
"""Seconds until a failed fetch is repeated if no keys of the source are known."""

FETCHES = 16
"""Maximum concurrent fetches of a process."""

FETCHES_OF_ONE = 2
"""Maximum concurrent fetches for one organization."""

SLOW = 3.0
"""Minimum seconds of a slow fetch, including the time to resolve names."""

SLOW_FOR = 600.0
"""Seconds for which an organization counts as slow after a slow fetch."""

FETCHES_OF_SLOW = FETCHES // 2
"""Maximum concurrent fetches for all slow organizations together."""

WAITING = 6
"""Maximum requests that wait for fetches at the same time. A worker serves eight, so two are left for others."""

WAITING_OF_ONE = 2
"""Maximum waiting requests of one organization."""

RETRY_AFTER = 1.0
"""Seconds until a request should ask again for keys that are being fetched."""

MAX_PROVEN, MAX_UNPROVEN = 800, 200
"""Maximum sources that a process remembers, by whether their keys have verified a token of an organization that uses
them. A source takes about 10 KB, and 0.5 MB at most if its issuer is hostile. Only a rule of trust adds a source."""

MAX_PROVEN_OF_ONE, MAX_UNPROVEN_OF_ONE = MAX_PROVEN // 2, MAX_UNPROVEN // 2
"""Maximum of these sources per organization."""

_MAX_AGE_DIRECTIVE = re.compile(r"(?:^|[ ,])max-age=\"?([0-9]{1,9})")
ACCEPT = {"Accept": "application/json", "User-Agent": "AgentIdP"}

logger = logging.getLogger("agentidp")

_SAME_KEY = {"RS384": "RS256", "RS512": "RS256", "PS384": "PS256", "PS512": "PS256"}
"""Algorithms that only ID tokens have, each with the algorithm whose keys are of the same kind."""

Cause = Literal["fetching", "crowded", "failed"]


class KeysUnavailable(Exception):
    """The keys that a token may be signed with are not there now. The message is for the operator.

    :param cause: the keys are being fetched, wait for other fetches, or could not be fetched.
    :param retry_after: seconds after which the request is worth repeating.
    :param owner: the owner of the rule that needs the keys, or ``None``.
    """

    issuer = ""
    owner: Any = None

    def __init__(self, cause: Cause, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.cause, self.retry_after = cause, retry_after


class KeySource(NamedTuple):
    """The place of an issuer's keys. Without ``jwks_uri``, the issuer's metadata names the address of the JWK Set."""

    issuer: str
    jwks_uri: str | None


class Use(NamedTuple):
    """An organization's use of a source."""

    organization_id: str
    source: KeySource


class KeySet:
    """Keys of one issuer. A key is parsed when a token first asks for it."""

    def __init__(self, jwks: list[Any]) -> None:
        usable = [jwk for jwk in map(usable_jwk, jwks) if jwk is not None][:MAX_KEYS]
        # Objects would take 25 times as much memory as text.
        self._jwks = [(jwk.get("kid"), key_algorithms(jwk), json.dumps(jwk)) for jwk in usable]
        self._parsed: dict[tuple[str | None, str], list[Any]] = {}

    def find(self, kid: str | None, alg: str) -> list[Any]:
        """Return the keys that may have made a signature with *alg*, at most :data:`MAX_SIGNATURES`.

        :param kid: the key that the token names; ``None`` for any key.
        """
        keys = self._parsed.get((kid, alg))
        if keys is None:
            key_alg = key_algorithm(_SAME_KEY.get(alg, alg))
            texts = [text for name, algs, text in self._jwks if kid in (None, name) and key_alg in algs]
            # Keys that cannot be parsed count too, because an issuer could publish hundreds of them.
            keys = [key for key in map(_parsed_key, texts[: MAX_SIGNATURES[key_alg]], repeat(alg)) if key is not None]
            if texts:
                if len(self._parsed) >= MAX_PARSED:
                    self._parsed.clear()
                self._parsed[kid, alg] = keys
        return keys


def _parsed_key(text: str, alg: str) -> Any:
    jwk = json.loads(text)
    if key_algorithm(jwk.get("alg", alg)) != key_algorithm(alg):
        return None
    try:
        return jwt.PyJWK.from_dict(public_jwk(jwk | {"alg": _SAME_KEY.get(alg, alg)})).key
    except ValueError:
        return None


def usable_jwk(jwk: Any) -> dict[str, Any] | None:
    """Return a JWK that may verify tokens, or ``None`` for a key with another purpose.

    A SPIFFE bundle has ``jwt-svid`` in place of ``sig``, and also contains the keys of certificates (SPIFFE Trust
    Domain and Bundle section 4.2.2).
    """
    if not isinstance(jwk, dict) or jwk.get("use", "sig") not in ("sig", "jwt-svid"):
        return None
    if not isinstance(jwk.get("kid", ""), str):
        return None
    return jwk | {"use": "sig"} if jwk.get("use") == "jwt-svid" else jwk


class Published(NamedTuple):
    """The metadata (JSON, empty if the rule has the address of the keys) and the keys that an issuer publishes."""

    metadata: str
    keys: KeySet


class _Fetch(NamedTuple):
    thread: threading.Thread
    organization_id: str
    began_at: float


class Known:
    """The state of a source. Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.published: Published | None = None
        self.fetched_at = self.fresh_until = self.next_fetch = float("-inf")
        self.failure: str | None = None
        self.fetch: _Fetch | None = None

    def usable(self, now: float) -> Published | None:
        """Return the keys and metadata that may be used now, fresh or not."""
        return self.published if now < self.fresh_until + MAX_STALE else None

    def is_being_fetched(self) -> bool:
        """Return whether the source is being fetched."""
        return self.fetch is not None and self.fetch.thread.is_alive()

    def last_fetched(self, now: float) -> Published:
        """Return the result of the last fetch.

        :raises KeysUnavailable: the fetch has failed, or goes on.
        """
        if self.is_being_fetched():
            raise KeysUnavailable("fetching", "the keys are being fetched", RETRY_AFTER)
        if self.published is None or self.failure is not None:
            retry_after = max(self.next_fetch - now, RETRY_AFTER)
            raise KeysUnavailable("failed", self.failure or "the fetch was given up", retry_after)
        return self.published


class IssuerKeys:
    """The keys that issuers publish, in the memory of one process.

    :param networks: the networks to which connections are allowed, and whether loopback addresses may be without https.
    :param now: returns seconds of a monotonic clock.
    :param proxy: returns the proxy for an address, or ``None``.
    :param timeout: maximum seconds of a fetch.
    """

    def __init__(
        self,
        networks: AllowedNetworks,
        now: Callable[[], float] = time.monotonic,
        *,
        proxy: Callable[[SplitResult], str | None] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._networks, self._now, self._proxy, self._timeout = networks, now, proxy, timeout
        # The lock is for all attributes below.
        self._lock = threading.Lock()
        self._proven: dict[Use, Known] = {}
        self._unproven: dict[Use, Known] = {}
        # A state ends with the last use of its source.
        self._by_source: WeakValueDictionary[KeySource, Known] = WeakValueDictionary()
        self._fetches: list[_Fetch] = []
        self._waiting: list[str] = []
        self._slow_at: dict[str, float] = {}

    def find(self, source: KeySource, kid: str | None, alg: str, *, organization_id: str) -> list[Any]:
        """Return the keys of an issuer that may have made a signature, as :meth:`KeySet.find` does.

        The issuer's keys are fetched if no remembered key may be right.

        :param organization_id: the organization of the rule that needs the keys.
        :raises KeysUnavailable: the keys are not there now.
        """
        known = self._known(source, organization_id)
        published = self._usable(source, known, organization_id)
        found = published.keys.find(kid, alg) if published is not None else []
        return found or self._fetched(source, known, organization_id).keys.find(kid, alg)

    def metadata(self, source: KeySource, *, organization_id: str) -> dict[str, Any]:
        """Return an issuer's metadata (OpenID Connect Discovery section 3), which is fetched together with its keys.

        :raises KeysUnavailable: the metadata is not there now.
        """
        known = self._known(source, organization_id)
        published = self._usable(source, known, organization_id) or self._fetched(source, known, organization_id)
        metadata: dict[str, Any] = json.loads(published.metadata)
        return metadata

    def verified(self, source: KeySource, *, organization_id: str) -> None:
        """Remember a source longer, because its keys have verified a token that a rule of an organization trusts."""
        use = Use(organization_id, source)
        with self._lock:
            if use in self._proven:
                self._proven[use] = self._proven.pop(use)
            elif use in self._unproven:
                self._proven[use] = self._unproven.pop(use)
                forget(self._proven, MAX_PROVEN, MAX_PROVEN_OF_ONE)

    def _known(self, source: KeySource, organization_id: str) -> Known:
        use = Use(organization_id, source)
        with self._lock:
            known = self._proven.get(use) or self._unproven.get(use)
            if known is None:
                known = self._by_source.get(source) or Known()
                self._by_source[source] = self._unproven[use] = known
                forget(self._unproven, MAX_UNPROVEN, MAX_UNPROVEN_OF_ONE)
            return known

    def _usable(self, source: KeySource, known: Known, organization_id: str) -> Published | None:
        published = known.usable(self._now())
        if published is not None and self._now() >= known.fresh_until:
            self._begin_fetch(source, known, organization_id)
        return published

    def _fetched(self, source: KeySource, known: Known, organization_id: str) -> Published:
        # The last fetch is so recent that a key which it lacks does not exist.
        try:
            if not self._begin_fetch(source, known, organization_id):
                raise KeysUnavailable("crowded", "too many other keys are being fetched", RETRY_AFTER)
            self._wait(known, organization_id)
            with self._lock:
                return known.last_fetched(self._now())
        except KeysUnavailable as unavailable:
            ISSUER_KEYS_MISSING.labels(unavailable.cause).inc()
            unavailable.issuer = source.issuer
            raise

    def _begin_fetch(self, source: KeySource, known: Known, organization_id: str) -> bool:
        """Start a fetch in a thread, unless a fetch goes on or a recent one suffices.

        :returns: false if a fetch is needed and the organization has no place for it.
        """
        with self._lock:
            now = self._now()
            if known.is_being_fetched() or now < known.next_fetch:
                return True
            self._fetches = [fetch for fetch in self._fetches if fetch.thread.is_alive()]
            busy, slow = [fetch.organization_id for fetch in self._fetches], self._slow(now)
            if len(busy) >= FETCHES or busy.count(organization_id) >= FETCHES_OF_ONE:
                return False
            if organization_id in slow and sum(one in slow for one in busy) >= FETCHES_OF_SLOW:
                return False
            thread = threading.Thread(
                target=self._fetch, args=(source, known, organization_id), name="agentidp-issuer-keys", daemon=True
            )
            thread.start()
            known.fetch = _Fetch(thread, organization_id, now)
            known.next_fetch = now + PAUSE_WITHOUT_KEYS
            self._fetches.append(known.fetch)
            return True

    def _wait(self, known: Known, organization_id: str) -> None:
        with self._lock:
            fetch = known.fetch
            if fetch is None or organization_id in self._slow(self._now()):
                return
            if len(self._waiting) >= WAITING or self._waiting.count(organization_id) >= WAITING_OF_ONE:
                return
            self._waiting.append(organization_id)
        try:
            fetch.thread.join(self._timeout)
        finally:
            with self._lock:
                self._waiting.remove(organization_id)

    def _slow(self, now: float) -> set[str]:
        """Return the organizations with a slow fetch in the last ten minutes or now."""
        had = {whose for whose, slow_at in self._slow_at.items() if now - slow_at < SLOW_FOR}
        late = [fetch for fetch in self._fetches if now - fetch.began_at >= SLOW and fetch.thread.is_alive()]
        return had | {fetch.organization_id for fetch in late}

    def _fetch(self, source: KeySource, known: Known, organization_id: str) -> None:
        began_at, published, max_age, failure = self._now(), None, 0.0, None
        try:
            published, max_age = self._published(source)
        except RequestFailed as failed:
            failure = str(failed)
        ISSUER_KEY_FETCHES.labels("failed" if failure else "fetched").inc()
        with self._lock:
            now = self._now()
            self._slow_at = {whose: slow_at for whose, slow_at in self._slow_at.items() if now - slow_at < SLOW_FOR}
            if now - began_at >= SLOW:
                self._slow_at[organization_id] = now
            known.failure, has_keys = failure, known.usable(now) is not None
            if published is not None:
                known.published, known.fetched_at, known.fresh_until = published, now, now + max_age
                has_keys = True
            known.next_fetch = now + (PAUSE if has_keys else PAUSE_WITHOUT_KEYS)
        if failure is not None:
            fields: dict[str, Any] = {"issuer": source.issuer, "reason": failure}
            if has_keys:
                fields["keys_age"] = round(now - known.fetched_at)
            logger.warning("keys of an issuer not fetched", extra={"fields": fields})

    def _published(self, source: KeySource) -> tuple[Published, float]:
        """Fetch the metadata and keys of an issuer, and return them with the seconds for which they are fresh."""
        until = time.monotonic() + self._timeout
        metadata: dict[str, Any] = {}
        jwks_uri = source.jwks_uri
        if jwks_uri is None:
            # Only the address is without the issuer's closing slash (OpenID Connect Discovery section 4.1).
            metadata, _ = self._object(f"{source.issuer.removesuffix('/')}/.well-known/openid-configuration", until)
            if metadata.get("issuer") != source.issuer:
                raise RequestFailed("the metadata is of another issuer")
            jwks_uri = metadata.get("jwks_uri")
            if not isinstance(jwks_uri, str):
                raise RequestFailed("the metadata has no jwks_uri")
        jwks, headers = self._object(jwks_uri, until)
        if not isinstance(jwks.get("keys"), list):
            raise RequestFailed("the response is not a JWK Set")
        return Published(json.dumps(metadata), KeySet(jwks["keys"])), _freshness(headers)

    def _object(self, address: str, until: float) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        url = check_url(address, self._networks)
        response = request(
            "GET",
            url,
            networks=self._networks,
            timeout=max(until - time.monotonic(), 0.001),
            max_body=MAX_BODY,
            headers=ACCEPT,
            proxy=self._proxy(url) if self._proxy else None,
        )
        if response.status != 200:
            raise RequestFailed(f"the status is {response.status}, not 200")
        found = parse_json_object(response.body)
        if found is None:
            raise RequestFailed("the response is not a JSON object")
        return found, response.headers


def forget(uses: dict[Use, Known], most: int, most_of_one: int) -> None:
    """Forget the oldest uses of the organization with the most uses, until both maximums are observed.

    :param most: maximum sources in all.
    :param most_of_one: maximum sources per organization.
    """
    while True:
        [(whose, count)] = Counter(use.organization_id for use in uses).most_common(1)
        if len({use.source for use in uses}) <= most and count <= most_of_one:
            return
        del uses[next(use for use in uses if use.organization_id == whose)]


def check_url(address: object, networks: AllowedNetworks) -> SplitResult:
    """Return the parts of an address that an issuer publishes, or raise ``RequestFailed`` if it is not allowed."""
    try:
        url = urlsplit(address if isinstance(address, str) and address.isascii() else "")
        is_local = networks.allow_plain and url.scheme == "http" and url.hostname in LOOPBACK_HOSTS
        is_allowed = (url.scheme == "https" or is_local) and bool(url.hostname) and url.username is None
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise RequestFailed("the address is not an https URL")
    return url


def parse_json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a response, or ``None``."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _freshness(headers: list[tuple[str, str]]) -> float:
    # RFC 9111 section 4.2.1.
    directives = ",".join(value for name, value in headers if name.lower() == "cache-control").lower()
    max_age = _MAX_AGE_DIRECTIVE.search(directives)
    return min(max(float(max_age[1]) if max_age else 0.0, MIN_AGE), MAX_AGE)
