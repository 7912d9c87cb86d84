"""The keys of other issuers, and their metadata: what an issuer publishes is fetched, bounded and remembered.

Keys are fetched by the request that needs them, so a slow issuer delays only who uses it, and at most
:data:`FETCHES_OF_ONE` requests of an organization at a time. Known keys that are no longer fresh are fetched beside the
request, which goes on with those that are known. Keys are kept by where they come from: if two rules name different
addresses for one issuer, neither gets the other's keys.

Rules of trust share one :class:`IssuerKeys`. The provider at which people sign in to the dashboard has its own, because
the operator names it: it may be at a private address or behind a proxy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import jwt

from agentidp.config import LOOPBACK_HOSTS
from agentidp.jose.jwk import key_algorithm, public_jwk
from agentidp.metrics import ISSUER_KEY_FETCHES
from agentidp.outbound.client import RequestFailed, request
from agentidp.outbound.networks import AllowedNetworks

MAX_KEYS_TRIED = 10
"""Keys of an issuer that a token without ``kid`` is verified against, which limits the cost of a request."""

TIMEOUT = 5.0
"""Seconds for an issuer's metadata and keys together. Resolving names comes on top."""

MAX_BODY = 64 * 1024
"""Bytes of a response. The keys of a large provider take about 10 KB."""

MIN_AGE, MAX_AGE = 300.0, 86_400.0
"""Seconds for which keys are fresh: the ``max-age`` of the response, within these bounds."""

MAX_STALE = 86_400.0
"""Seconds for which known keys are used after that, if the issuer cannot be reached."""

PAUSE = 60.0
"""Seconds between two fetches of the same keys, even if tokens name keys that are not known."""

PAUSE_WITHOUT_KEYS = 10.0
"""Seconds after which a fetch that failed is tried again if no keys are known."""

FETCHES_OF_ONE = 2
"""Requests of an organization that fetch keys or wait for them at the same time in a process."""

FETCHES_OF_ALL = 6
"""Such requests of all organizations together. A worker has eight threads, so two stay free for other requests."""

MAX_SOURCES = 1_000
"""Issuers whose keys a process remembers, at most 100 MB. Only a rule of trust adds one."""

_MAX_AGE_DIRECTIVE = re.compile(r"(?:^|[ ,])max-age=\"?([0-9]{1,9})")
ACCEPT = {"Accept": "application/json", "User-Agent": "AgentIdP"}

logger = logging.getLogger("agentidp")


_SAME_KEY = {"RS384": "RS256", "RS512": "RS256", "PS384": "PS256", "PS512": "PS256"}
"""Algorithms of ID tokens that a client's own key cannot be for, and the one whose keys are of the same kind."""


class KeysUnavailable(Exception):
    """No keys of the issuer are known, and they cannot be fetched now. The message is for the operator."""


class KeySource(NamedTuple):
    """Where an issuer's keys are.

    :param jwks_uri: of its JWK Set; ``None`` if the issuer's metadata says it.
    """

    issuer: str
    jwks_uri: str | None


class KeySet:
    """Keys of one issuer. A key is parsed when a token first asks for it."""

    def __init__(self, jwks: list[Any]) -> None:
        self._jwks = [usable for usable in map(usable_jwk, jwks) if usable is not None]
        self._kids = {jwk.get("kid") for jwk in self._jwks}
        self._parsed: dict[tuple[str | None, str], list[Any]] = {}

    def find(self, kid: str | None, alg: str) -> list[Any]:
        """The keys that may have made a signature with *alg*, at most :data:`MAX_KEYS_TRIED`. A key that names no
        algorithm may be for any of its kind.

        :param kid: which the token names. A token without one may be signed by any of them.
        """
        if kid is not None and kid not in self._kids:
            return []
        known = self._parsed.get((kid, alg))
        if known is None:
            known = self._parsed[kid, alg] = self._parse(kid, alg)
        return known

    def _parse(self, kid: str | None, alg: str) -> list[Any]:
        found: list[Any] = []
        for jwk in self._jwks:
            if kid is not None and jwk.get("kid") != kid:
                continue
            if key_algorithm(jwk.get("alg", alg)) != key_algorithm(alg):
                continue
            with contextlib.suppress(ValueError):
                checked = public_jwk(jwk | {"alg": _SAME_KEY.get(alg, alg)})
                found.append(jwt.PyJWK.from_dict(checked).key)
            if len(found) == MAX_KEYS_TRIED:
                break
        return found


def usable_jwk(jwk: Any) -> dict[str, Any] | None:
    """A member of a JWK Set that may verify tokens, or ``None``: a set may have keys for something else.

    A SPIFFE bundle says ``jwt-svid`` where others say ``sig``, and has the keys of certificates beside them (SPIFFE
    Trust Domain and Bundle section 4.2.2).
    """
    if not isinstance(jwk, dict) or jwk.get("use", "sig") not in ("sig", "jwt-svid"):
        return None
    if not isinstance(jwk.get("kid", ""), str):
        return None
    return jwk | {"use": "sig"} if jwk.get("use") == "jwt-svid" else jwk


class Published(NamedTuple):
    """What an issuer publishes. ``metadata`` is empty if the address of the keys is known without it."""

    metadata: dict[str, Any]
    keys: KeySet


class _Known:
    """What is known of a source. Times are those of the monotonic clock."""

    def __init__(self) -> None:
        self.published: Published | None = None
        self.fetched_at = self.fresh_until = float("-inf")
        self.next_fetch = float("-inf")
        self.failure = "not fetched yet"
        self.fetching: threading.Event | None = None

    def usable(self, now: float) -> Published | None:
        """What may be used now, fresh or not."""
        return self.published if now < self.fresh_until + MAX_STALE else None

    def needed(self, now: float) -> Published:
        """:raises KeysUnavailable: there is nothing that may be used now."""
        found = self.usable(now)
        if found is None:
            raise KeysUnavailable(self.failure)
        return found

    def end_fetch(self) -> None:
        """Let those go on who wait for the fetch that ends."""
        done, self.fetching = self.fetching, None
        if done is not None:
            done.set()


class IssuerKeys:
    """The keys that issuers publish, as one process knows them.

    :param networks: where connections may go. https only, but for the loopback if it may be without encryption.
    :param now: seconds of a clock that never goes back.
    :param proxy: the proxy for an address, if there is one.
    """

    def __init__(
        self,
        networks: AllowedNetworks,
        now: Callable[[], float] = time.monotonic,
        *,
        proxy: Callable[[SplitResult], str | None] | None = None,
    ) -> None:
        self._networks, self._now, self._proxy = networks, now, proxy
        self._lock = threading.Lock()
        self._known: dict[KeySource, _Known] = {}
        self._busy: Counter[str] = Counter()

    def find(
        self, source: KeySource, kid: str | None, alg: str, *, organization_id: str, may_wait: bool = True
    ) -> list[Any]:
        """The keys of an issuer that may have made a signature, as :meth:`KeySet.find` returns them. They are fetched
        if none is known.

        :param organization_id: whose rule asks for them.
        :param may_wait: wait for keys that are not known. Otherwise they are fetched for a later request.
        :raises KeysUnavailable: no keys are known.
        """
        known = self._state(source)
        published = self._usable(source, known, organization_id)
        if published is not None and (found := published.keys.find(kid, alg)):
            return found
        if may_wait:
            self._fetch_here(source, known, organization_id)
        else:
            self._fetch_aside(source, known, organization_id)
        return known.needed(self._now()).keys.find(kid, alg)

    def metadata(self, source: KeySource, *, organization_id: str) -> dict[str, Any]:
        """An issuer's metadata (OpenID Connect Discovery section 3), which is fetched, and remembered, with its keys.

        :raises KeysUnavailable: neither are known.
        """
        known = self._state(source)
        published = self._usable(source, known, organization_id)
        if published is None:
            self._fetch_here(source, known, organization_id)
            published = known.needed(self._now())
        return published.metadata

    def _usable(self, source: KeySource, known: _Known, organization_id: str) -> Published | None:
        """What may be used now. If it is no longer fresh, it is fetched for a later request."""
        published = known.usable(self._now())
        if published is not None and self._now() >= known.fresh_until:
            self._fetch_aside(source, known, organization_id)
        return published

    def _state(self, source: KeySource) -> _Known:
        with self._lock:
            known = self._known.get(source)
            if known is None:
                if len(self._known) >= MAX_SOURCES:
                    self._known.pop(next(iter(self._known)))
                known = self._known[source] = _Known()
            return known

    def _fetch_here(self, source: KeySource, known: _Known, organization_id: str) -> None:
        """Fetch in the current request, or wait for another one that does, unless neither is allowed now."""
        with self._place(organization_id) as has_place:
            if not has_place:
                return
            mine = threading.Event()
            with self._lock:
                others = known.fetching
                if others is None:
                    if self._now() < known.next_fetch:
                        return
                    known.fetching = mine
            if others is not None:
                others.wait(TIMEOUT)
                return
            self._fetch(source, known)

    def _fetch_aside(self, source: KeySource, known: _Known, organization_id: str) -> None:
        """Begin to fetch beside the current request, unless somebody does, or it is too early."""

        def fetch() -> None:
            with self._place(organization_id) as has_place:
                if has_place:
                    self._fetch(source, known)
                else:
                    known.end_fetch()

        with self._lock:
            if known.fetching is not None or self._now() < known.next_fetch:
                return
            known.fetching = threading.Event()
        threading.Thread(target=fetch, name="agentidp-issuer-keys", daemon=True).start()

    @contextlib.contextmanager
    def _place(self, organization_id: str) -> Iterator[bool]:
        """A block that may take as long as a fetch. Yields whether the organization has a place for it."""
        with self._lock:
            has_place = self._busy[organization_id] < FETCHES_OF_ONE and self._busy.total() < FETCHES_OF_ALL
            if has_place:
                self._busy[organization_id] += 1
        try:
            yield has_place
        finally:
            if has_place:
                with self._lock:
                    self._busy -= Counter((organization_id,))

    def _fetch(self, source: KeySource, known: _Known) -> None:
        """Fetch, by the only thread that does now, which ``known.fetching`` says."""
        try:
            published, max_age = self._published(source)
        except RequestFailed as failed:
            now = self._now()
            known.failure = str(failed)
            has_keys = known.usable(now) is not None
            known.next_fetch = now + (PAUSE if has_keys else PAUSE_WITHOUT_KEYS)
            ISSUER_KEY_FETCHES.labels("failed").inc()
            fields: dict[str, Any] = {"issuer": source.issuer, "reason": known.failure}
            if has_keys:
                fields["keys_age"] = round(now - known.fetched_at)
            logger.warning("keys of an issuer not fetched", extra={"fields": fields})
        else:
            now = self._now()
            known.published, known.fetched_at = published, now
            known.fresh_until, known.next_fetch = now + max_age, now + PAUSE
            ISSUER_KEY_FETCHES.labels("fetched").inc()
        finally:
            known.end_fetch()

    def _published(self, source: KeySource) -> tuple[Published, float]:
        """Fetch what an issuer publishes, and the seconds for which it is fresh.

        :raises RequestFailed: one phrase: it cannot be fetched, or has no JWK Set.
        """
        until = time.monotonic() + TIMEOUT
        metadata: dict[str, Any] = {}
        jwks_uri = source.jwks_uri
        if jwks_uri is None:
            # OpenID Connect Discovery section 4.1: a closing slash is removed for this, and stays in the name.
            metadata, _ = self._object(f"{source.issuer.removesuffix('/')}/.well-known/openid-configuration", until)
            if metadata.get("issuer") != source.issuer:
                raise RequestFailed("the metadata is of another issuer")
            jwks_uri = metadata.get("jwks_uri")
            if not isinstance(jwks_uri, str):
                raise RequestFailed("the metadata has no jwks_uri")
        jwks, headers = self._object(jwks_uri, until)
        if not isinstance(jwks.get("keys"), list):
            raise RequestFailed("the response is not a JWK Set")
        return Published(metadata, KeySet(jwks["keys"])), _freshness(headers)

    def _object(self, address: str, until: float) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The JSON object at an address, and the headers of the response.

        :raises RequestFailed: one phrase: there is none.
        """
        url = checked_url(address, self._networks)
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
        found = json_object(response.body)
        if found is None:
            raise RequestFailed("the response is not a JSON object")
        return found, response.headers


def checked_url(address: object, networks: AllowedNetworks) -> SplitResult:
    """An address that an issuer publishes.

    :raises RequestFailed: nothing must be sent there.
    """
    try:
        url = urlsplit(address if isinstance(address, str) and address.isascii() else "")
        is_local = networks.allow_plain and url.scheme == "http" and url.hostname in LOOPBACK_HOSTS
        is_allowed = (url.scheme == "https" or is_local) and bool(url.hostname) and url.username is None
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise RequestFailed("the address is not an https URL")
    return url


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a response has, if it has one."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _freshness(headers: list[tuple[str, str]]) -> float:
    """Seconds for which a response is fresh (RFC 9111 section 4.2.1), within our bounds."""
    directives = ",".join(value for name, value in headers if name.lower() == "cache-control").lower()
    max_age = _MAX_AGE_DIRECTIVE.search(directives)
    return min(max(float(max_age[1]) if max_age else 0.0, MIN_AGE), MAX_AGE)
