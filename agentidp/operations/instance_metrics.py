"""Metrics of the whole instance: its release, its database, usage per organization, findings and alerts.

Usage is read from the database's counters, so it is exact, and the same after a restart and on every application
server. A thread reads it periodically. A scrape returns the last reading and never waits for the database.
"""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import version

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from agentidp.config import Settings
from agentidp.counting import UNKNOWN_ORGANIZATION
from agentidp.db.database import Database
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows
from agentidp.jose.signing_keys import SigningKeys
from agentidp.operations.watch_metrics import CALLS, WatchFigures, labelled_gauge

logger = logging.getLogger("agentidp")

INTERVAL = 15
"""Minimum seconds to wait after the metrics were read from the database."""

MAX_SHARE = 0.05
"""Maximum share of the time that is spent on reading the metrics. After a slow reading, the wait is longer."""

UNKNOWN = "unknown"
"""The value of the label ``organization`` for failed authentications of unknown clients."""

MAX_ORGANIZATIONS = 20
"""Maximum number of organizations with metrics of their own, so that the number of time series is limited."""

OTHER = "other"
"""The value of the label ``organization`` for the sum of the organizations beyond :data:`MAX_ORGANIZATIONS`."""

_USAGE_CALL = Call("metrics/usage", {})

_USAGE = {
    "tokens_today": "Tokens issued today",
    "tokens_this_month": "Tokens issued in this month",
    "requests_today": "Requests with a token today",
    "rejections_today": "Failed authentications today",
}
"""The names of the counters in :class:`Usage`, each with the help text of its metric."""


@dataclass(frozen=True)
class Usage:
    """The usage of an organization today and in this month, in UTC."""

    organization: str
    name: str | None = None
    tokens_today: int = 0
    tokens_this_month: int = 0
    requests_today: int = 0
    rejections_today: int = 0


@dataclass(frozen=True)
class Reading:
    """The values that were last read from the database.

    :param is_database_up: whether the last reading succeeded. If not, the other values are from an earlier reading.
    :param has_signing_key: whether this server's instance secret decrypts a signing key.
    :param read_at: the time of the reading in seconds since 1970, or NaN before the first reading.
    :param watch: the metrics of findings and alerts.
    """

    is_database_up: bool = False
    has_signing_key: bool = False
    read_at: float = math.nan
    usage: tuple[Usage, ...] = ()
    watch: WatchFigures = field(default_factory=WatchFigures)


class InstanceMetrics:
    """A Prometheus collector of the instance's metrics. ``read`` and ``collect`` may run in different threads.

    :param clock: returns the current time, with time zone.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._settings, self._clock = settings, clock
        self._database = Database(settings.primary_url, replace(settings, pool_max_size=1))
        self._keys = SigningKeys(self._database, settings)
        self._reading = Reading()

    def read(self) -> None:
        """Read the metrics from the database. If the database does not respond, keep the earlier values."""
        at, usage, watch = self._clock(), [], WatchFigures()
        try:
            for row in self._database.fetch_unscoped("metrics/organizations"):
                usage_rows, *watch_rows = self._database.of(row.organization_id, at).run(_USAGE_CALL, *CALLS)
                usage.append(_to_usage(row.organization_id, usage_rows))
                watch.add(*watch_rows)
            [usage_rows] = self._database.of(UNKNOWN_ORGANIZATION, at).run(_USAGE_CALL)
            usage.append(_to_usage(UNKNOWN, usage_rows))
        except DatabaseUnavailable:
            self._reading = replace(self._reading, is_database_up=False)
        else:
            self._reading = Reading(True, self._has_signing_key(), at.timestamp(), tuple(usage), watch)

    def keep_reading(self) -> None:
        """Read the metrics again and again, without returning."""
        while True:
            began_at = time.monotonic()
            try:
                self.read()
            except Exception as error:  # If this thread ended, the metrics would never change again.
                self._reading = replace(self._reading, is_database_up=False)
                logger.error("usage cannot be read", extra={"fields": {"error": type(error).__name__}})
            time.sleep(max(INTERVAL, (time.monotonic() - began_at) / MAX_SHARE))

    def close(self) -> None:
        """Close the database connection."""
        self._database.close()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last reading."""
        reading = self._reading
        release: dict[tuple[str, ...], float] = {(version("agentidp"), platform.python_version()): 1}
        # This is no InfoMetricFamily, because Prometheus's older text format would lose its help text.
        yield labelled_gauge("agentidp_build_info", "The release that runs", ["version", "python"], release)
        workers = self._settings.web_concurrency
        yield GaugeMetricFamily("agentidp_workers_configured", "Workers that should run", workers)
        yield GaugeMetricFamily("agentidp_database_up", "Whether the database responds", reading.is_database_up)
        ahead = self._database.seconds_ahead
        if ahead is not None:
            yield GaugeMetricFamily(
                "agentidp_clock_ahead_seconds", "The clock of this machine minus the database's", ahead
            )
        if not math.isnan(reading.read_at):
            yield GaugeMetricFamily(
                "agentidp_signing_key_usable",
                "Whether the instance secret decrypts a signing key",
                reading.has_signing_key,
            )
            yield GaugeMetricFamily(
                "agentidp_usage_read_timestamp_seconds", "When usage was read last", reading.read_at
            )
            organizations = len(reading.usage) - 1
            yield GaugeMetricFamily("agentidp_organizations", "Organizations that have agents", organizations)
            yield from _build_usage_metrics(reading.usage)
            yield from reading.watch.collect()

    def _has_signing_key(self) -> bool:
        try:
            self._keys.current()
        except DatabaseUnavailable:
            return False
        return True


def _to_usage(organization: str, rows: Rows) -> Usage:
    return Usage(organization, **rows[0]._asdict()) if rows else Usage(organization)


def _build_usage_metrics(usage: tuple[Usage, ...]) -> Iterator[Metric]:
    labelled = select_largest(usage, MAX_ORGANIZATIONS)
    for name, help_text in _USAGE.items():
        family = GaugeMetricFamily(f"agentidp_organization_{name}", f"{help_text} (UTC)", labels=["organization"])
        for row in labelled:
            family.add_metric([row.organization], getattr(row, name))
        yield family
    names: dict[tuple[str, ...], float] = {(row.organization, row.name): 1 for row in labelled if row.name is not None}
    yield labelled_gauge("agentidp_organization_info", "Names", ["organization", "name"], names)


def select_largest(usage: tuple[Usage, ...], max_organizations: int) -> list[Usage]:
    """Return the usage of the organizations with most tokens this month, the sum of all others, and unknown clients."""
    registered_rows = sorted(
        (row for row in usage if row.organization != UNKNOWN),
        key=lambda row: (-row.tokens_this_month, row.organization),
    )
    unknown_rows = [row for row in usage if row.organization == UNKNOWN]
    further_rows = registered_rows[max_organizations:]
    remainder_sum = Usage(
        OTHER, **{member_name: sum(getattr(row, member_name) for row in further_rows) for member_name in _USAGE}
    )
    return [*registered_rows[:max_organizations], *([remainder_sum] if further_rows else []), *unknown_rows]
