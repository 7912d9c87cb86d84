"""Cache the keys and the metadata of other issuers, and decide when they are fetched, and for which organization.

A fetch runs in a thread of its own. Few requests wait for a fetch, and others are told when to try again. Stale keys
are used while they are fetched again.

No organization may crowd out others. Each organization has few fetches and few waiting requests at a time.
Organizations with slow issuers get at most half of the fetches, and only requests of others wait. Keys that verified a
token are removed only to make room for other such keys. The organization with the most keys loses keys first.

Keys are cached by issuer and address, so that rules with different addresses for an issuer never share keys.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

from agentidp.federation.issuer_documents import TIMEOUT, Proxy, Published, fetch_published
from agentidp.federation.key_set import KeySource
from agentidp.metrics import ISSUER_KEY_FETCHES, ISSUER_KEYS_MISSING
from agentidp.outbound.client import RequestFailed
from agentidp.outbound.networks import AllowedNetworks
from agentidp.outbound.places import Places

MAX_STALE = 86_400.0
"""Maximum seconds for which stale keys may be used if no fetch succeeds."""

PAUSE = 60.0
"""Minimum seconds between two fetches of an issuer's keys."""

PAUSE_WITHOUT_KEYS = 10.0
"""Minimum seconds between two fetches of an issuer's keys while no usable keys of the issuer are cached."""

MAX_FETCHES, MAX_FETCHES_PER_ORGANIZATION = 16, 2
"""Maximum concurrent fetches of issuers' keys per process, and per organization in a process."""

SLOW = 3.0
"""Minimum duration in seconds of a fetch of keys that counts as slow."""

SLOW_FOR = 600.0
"""Seconds for which an organization counts as slow after a slow fetch of keys for it."""

MAX_FETCHES_OF_SLOW = MAX_FETCHES // 2
"""Maximum concurrent fetches of keys for all organizations that count as slow, in total."""

MAX_WAITING, MAX_WAITING_PER_ORGANIZATION = 6, 2
"""Maximum concurrent requests that wait for keys or exchange a code at a provider, in total and per organization. A
worker runs eight requests at a time, so two remain for other requests."""

RETRY_AFTER = 1.0
"""Seconds after which a client should repeat a request whose keys are still being fetched."""

MAX_PROVEN, MAX_UNPROVEN = 800, 200
"""Maximum number of cached key sources whose keys have verified a token, and of other cached sources. A source takes
about 10 KB, or at most 0.5 MB if its issuer is hostile."""

MAX_PROVEN_PER_ORGANIZATION, MAX_UNPROVEN_PER_ORGANIZATION = MAX_PROVEN // 2, MAX_UNPROVEN // 2

logger = logging.getLogger("agentidp")

Cause = Literal["fetching", "crowded", "failed"]


class KeysUnavailable(Exception):
    """The keys with which a token may be verified are not available now. The message is for the operator.

    :ivar retry_after: seconds after which the client should repeat the request.
    """

    issuer = ""

    def __init__(self, cause: Cause, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.cause, self.retry_after = cause, retry_after


class Use(NamedTuple):
    """An organization and a key source that its rules or its provider use."""

    organization_id: str
    source: KeySource


class _Fetch(NamedTuple):
    thread: threading.Thread
    organization_id: str
    began_at: float


class SourceState:
    """The fetched keys of a source, and when to fetch them again. Times are seconds of the monotonic clock."""

    def __init__(self, source: KeySource) -> None:
        self.source = source
        self.published: Published | None = None
        self.fetched_at = self.fresh_until = self.next_fetch = float("-inf")
        self.failure: str | None = None
        self.fetch: _Fetch | None = None

    def get_usable(self, now: float) -> Published | None:
        """Return the fetched keys and metadata, or ``None`` if they are too old."""
        return self.published if now < self.fresh_until + MAX_STALE else None

    def is_being_fetched(self) -> bool:
        """Return whether a thread is fetching the keys now."""
        return self.fetch is not None and self.fetch.thread.is_alive()


class IssuerKeys:
    """A process's cache of the keys that issuers publish.

    :param networks: the networks in which issuers may be.
    :param now: returns the time of a monotonic clock in seconds.
    :param proxy: returns the proxy for an issuer's URL, or ``None`` for a direct connection.
    :param timeout: maximum seconds to fetch an issuer's metadata and keys.
    """

    def __init__(
        self,
        networks: AllowedNetworks,
        now: Callable[[], float] = time.monotonic,
        *,
        proxy: Proxy = lambda _: None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.networks, self.proxy, self._now, self._timeout = networks, proxy, now, timeout
        self.places = Places(MAX_WAITING, MAX_WAITING_PER_ORGANIZATION, now)
        # This lock protects all attributes below.
        self._lock = threading.Lock()
        self._proven: dict[Use, SourceState] = {}
        self._unproven: dict[Use, SourceState] = {}
        # A weak mapping drops a key source that no organization uses any more.
        self._by_source: WeakValueDictionary[KeySource, SourceState] = WeakValueDictionary()
        self._fetches: list[_Fetch] = []
        self._slow_at: dict[str, float] = {}  # when the latest slow fetch for each organization ended

    def find_keys(self, source: KeySource, kid: str | None, alg: str, *, organization_id: str) -> list[Any]:
        """Return an issuer's keys that may have made a token's signature, or raise :exc:`KeysUnavailable`."""
        source_state = self._get_source_state(source, organization_id)
        published_documents = self._get_usable_and_refresh(source_state, organization_id)
        keys = published_documents.keys.find_keys(kid, alg) if published_documents is not None else []
        return keys or self._fetch_and_wait(source_state, organization_id).keys.find_keys(kid, alg)

    def get_metadata(self, source: KeySource, *, organization_id: str) -> dict[str, Any]:
        """Return an issuer's metadata (OpenID Connect Discovery section 3), or raise :exc:`KeysUnavailable`."""
        source_state = self._get_source_state(source, organization_id)
        usable_documents = self._get_usable_and_refresh(source_state, organization_id)
        published_documents = usable_documents or self._fetch_and_wait(source_state, organization_id)
        metadata: dict[str, Any] = json.loads(published_documents.metadata)
        return metadata

    def mark_proven(self, source: KeySource, *, organization_id: str) -> None:
        """Keep a key source longer in the cache, because its keys have verified a token for the organization."""
        use = Use(organization_id, source)
        with self._lock:
            if use in self._proven:
                self._proven[use] = self._proven.pop(use)
            elif use in self._unproven:
                self._proven[use] = self._unproven.pop(use)
                forget_uses(self._proven, MAX_PROVEN, MAX_PROVEN_PER_ORGANIZATION)

    def _get_source_state(self, source: KeySource, organization_id: str) -> SourceState:
        source_use = Use(organization_id, source)
        with self._lock:
            source_state = self._proven.get(source_use) or self._unproven.get(source_use)
            if source_state is None:
                source_state = self._by_source.get(source) or SourceState(source)
                self._by_source[source] = self._unproven[source_use] = source_state
                forget_uses(self._unproven, MAX_UNPROVEN, MAX_UNPROVEN_PER_ORGANIZATION)
            return source_state

    def _get_usable_and_refresh(self, state: SourceState, organization_id: str) -> Published | None:
        """Return the fetched keys and metadata, or ``None`` if they are too old. If they are stale, start a fetch."""
        published = state.get_usable(self._now())
        if published is not None and self._now() >= state.fresh_until:
            self._begin_fetch(state, organization_id)
        return published

    def _fetch_and_wait(self, state: SourceState, organization_id: str) -> Published:
        try:
            if not self._begin_fetch(state, organization_id):
                raise KeysUnavailable("crowded", "too many other keys are being fetched", RETRY_AFTER)
            self._wait_for_fetch(state, organization_id)
            with self._lock:
                if state.is_being_fetched():
                    raise KeysUnavailable("fetching", "the keys are being fetched", RETRY_AFTER)
                if state.published is None or state.failure is not None:
                    retry_after = max(state.next_fetch - self._now(), RETRY_AFTER)
                    raise KeysUnavailable("failed", state.failure or "the fetch was given up", retry_after)
                return state.published
        except KeysUnavailable as unavailable:
            ISSUER_KEYS_MISSING.labels(unavailable.cause).inc()
            unavailable.issuer = state.source.issuer
            raise

    def _begin_fetch(self, state: SourceState, organization_id: str) -> bool:
        """Start to fetch the keys of a source if a fetch is due. Return false only if too many fetches are running."""
        with self._lock:
            now = self._now()
            if state.is_being_fetched() or now < state.next_fetch:
                return True
            self._fetches = [fetch for fetch in self._fetches if fetch.thread.is_alive()]
            fetching_ids = [fetch.organization_id for fetch in self._fetches]
            if len(fetching_ids) >= MAX_FETCHES or fetching_ids.count(organization_id) >= MAX_FETCHES_PER_ORGANIZATION:
                return False
            slow_organization_ids = self._list_slow_organizations(now)
            if (
                organization_id in slow_organization_ids
                and sum(fetching_id in slow_organization_ids for fetching_id in fetching_ids) >= MAX_FETCHES_OF_SLOW
            ):
                return False
            fetch_thread = threading.Thread(
                target=self._run_fetch, args=(state, organization_id), name="agentidp-issuer-keys", daemon=True
            )
            fetch_thread.start()
            state.fetch = _Fetch(fetch_thread, organization_id, now)
            state.next_fetch = now + PAUSE_WITHOUT_KEYS
            self._fetches.append(state.fetch)
            return True

    def _wait_for_fetch(self, state: SourceState, organization_id: str) -> None:
        with self._lock:
            fetch, slow_organization_ids = state.fetch, self._list_slow_organizations(self._now())
        if fetch is not None and organization_id not in slow_organization_ids:
            with self.places.reserve(organization_id) as may_wait:
                if may_wait:
                    fetch.thread.join(self._timeout)

    def _list_slow_organizations(self, now: float) -> set[str]:
        """Return the organizations for which a fetch is slow now or was slow in the last :data:`SLOW_FOR` seconds."""
        slow_ids = {organization_id for organization_id, slow_at in self._slow_at.items() if now - slow_at < SLOW_FOR}
        slow_fetches = [fetch for fetch in self._fetches if now - fetch.began_at >= SLOW and fetch.thread.is_alive()]
        return slow_ids | {fetch.organization_id for fetch in slow_fetches}

    def _run_fetch(self, state: SourceState, organization_id: str) -> None:
        began_at, published_documents, max_age, failure_reason = self._now(), None, 0.0, None
        try:
            published_documents, max_age = fetch_published(state.source, self.networks, self.proxy, self._timeout)
        except RequestFailed as failed:
            failure_reason = str(failed)
        ISSUER_KEY_FETCHES.labels("failed" if failure_reason else "fetched").inc()
        with self._lock:
            now = self._now()
            self._slow_at = {slow_id: slow_at for slow_id, slow_at in self._slow_at.items() if now - slow_at < SLOW_FOR}
            if now - began_at >= SLOW:
                self._slow_at[organization_id] = now
            state.failure = failure_reason
            if published_documents is not None:
                state.published, state.fetched_at, state.fresh_until = published_documents, now, now + max_age
            has_usable_keys = state.get_usable(now) is not None
            state.next_fetch = now + (PAUSE if has_usable_keys else PAUSE_WITHOUT_KEYS)
        if failure_reason is not None:
            log_fields: dict[str, Any] = {"issuer": state.source.issuer, "reason": failure_reason}
            if has_usable_keys:
                log_fields["keys_age"] = round(now - state.fetched_at)
            logger.warning("keys of an issuer not fetched", extra={"fields": log_fields})


def forget_uses(uses: dict[Use, SourceState], max_sources: int, max_per_organization: int) -> None:
    """Delete the oldest entries of the organization with the most entries, until no maximum is exceeded."""
    while True:
        [(organization_id, use_count)] = Counter(source_use.organization_id for source_use in uses).most_common(1)
        if len({source_use.source for source_use in uses}) <= max_sources and use_count <= max_per_organization:
            return
        del uses[next(source_use for source_use in uses if source_use.organization_id == organization_id)]
