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
from agentidp.db.sql import Call
from agentidp.jose.signing_keys import SigningKeys
from agentidp.operations.watch_metrics import CALLS, WatchFigures

logger = logging.getLogger("agentidp")

INTERVAL = 15
"""Minimum seconds between two readings."""

MAX_SHARE = 0.05
"""Maximum share of the time that is spent on readings. A slow reading delays the next one."""

UNKNOWN = "unknown"
"""Organization label of the usage of unregistered clients."""

MAX_ORGANIZATIONS = 20
"""Maximum number of organizations with their own label, which bounds the number of time series."""

OTHER = "other"
"""Organization label of the sum over all organizations beyond the maximum."""

_USAGE_CALL = Call("metrics/usage", {})

_USAGE = {
    "tokens_today": "Tokens issued today",
    "tokens_this_month": "Tokens issued in this month",
    "requests_today": "Requests with a token today",
    "rejections_today": "Failed authentications today",
}
"""The counters in :class:`Usage`, with the help text of each metric."""


@dataclass(frozen=True)
class Usage:
    """An organization's usage today and this month, in UTC."""

    organization: str
    name: str | None = None
    tokens_today: int = 0
    tokens_this_month: int = 0
    requests_today: int = 0
    rejections_today: int = 0


@dataclass(frozen=True)
class Reading:
    """The result of the last reading.

    :param is_database_up: whether the last attempt succeeded. If not, the other values are from an earlier reading.
    :param has_signing_key: whether this server's instance secret decrypts a signing key.
    :param read_at: seconds since 1970, or NaN before the first reading.
    :param watch: the figures of findings and alerts.
    """

    is_database_up: bool = False
    has_signing_key: bool = False
    read_at: float = math.nan
    usage: tuple[Usage, ...] = ()
    watch: WatchFigures = field(default_factory=WatchFigures)


class InstanceMetrics:
    """A Prometheus collector. ``read`` and ``collect`` may run in different threads.

    :param clock: returns the current time, with time zone.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._settings, self._clock = settings, clock
        self._database = Database(settings.primary_url, replace(settings, pool_max_size=1))
        self._keys = SigningKeys(self._database, settings)
        self._reading = Reading()

    def read(self) -> None:
        """Read from the database. If the database is unreachable, the last reading is kept."""
        at = self._clock()
        try:
            organizations = [row.organization_id for row in self._database.fetch_unscoped("metrics/organizations")]
            watch = WatchFigures()
            found = [self._read_of(organization_id, at, watch) for organization_id in organizations]
            [unknown] = self._database.of(UNKNOWN_ORGANIZATION, at).run(_USAGE_CALL)
        except DatabaseUnavailable:
            self._reading = replace(self._reading, is_database_up=False)
        else:
            found.append(Usage(UNKNOWN, **unknown[0]._asdict()) if unknown else Usage(UNKNOWN))
            self._reading = Reading(True, self._has_signing_key(), at.timestamp(), tuple(found), watch)

    def keep_reading(self) -> None:
        """Read periodically, without end."""
        while True:
            began = time.monotonic()
            try:
                self.read()
            except Exception as error:  # If this thread ended, the metrics would never change again.
                self._reading = replace(self._reading, is_database_up=False)
                logger.error("usage cannot be read", extra={"fields": {"error": type(error).__name__}})
            time.sleep(max(INTERVAL, (time.monotonic() - began) / MAX_SHARE))

    def close(self) -> None:
        """Close the database connection."""
        self._database.close()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last reading."""
        reading = self._reading
        yield _info(
            "agentidp_build",
            "The release that runs",
            {"version": version("agentidp"), "python": platform.python_version()},
        )
        yield _gauge("agentidp_workers_configured", "Workers that should run", self._settings.web_concurrency)
        yield _gauge("agentidp_database_up", "Whether the database responds", float(reading.is_database_up))
        ahead = self._database.seconds_ahead
        if ahead is not None:
            yield _gauge("agentidp_clock_ahead_seconds", "The clock of this machine minus the database's", ahead)
        if not math.isnan(reading.read_at):
            yield _gauge(
                "agentidp_signing_key_usable",
                "Whether the instance secret decrypts a signing key",
                float(reading.has_signing_key),
            )
            yield _gauge("agentidp_usage_read_timestamp_seconds", "When usage was read last", reading.read_at)
            yield _gauge("agentidp_organizations", "Organizations that have agents", len(reading.usage) - 1)
            yield from self._usage(reading.usage)
            yield from reading.watch.collect()

    def _has_signing_key(self) -> bool:
        try:
            self._keys.current()
        except DatabaseUnavailable:
            return False
        return True

    def _read_of(self, organization_id: str, at: datetime, watch: WatchFigures) -> Usage:
        usage, *rest = self._database.of(organization_id, at).run(_USAGE_CALL, *CALLS)
        watch.add(*rest)
        return Usage(organization_id, **usage[0]._asdict()) if usage else Usage(organization_id)

    def _usage(self, usage: tuple[Usage, ...]) -> Iterator[Metric]:
        shown = largest(usage, MAX_ORGANIZATIONS)
        for name, text in _USAGE.items():
            family = GaugeMetricFamily(f"agentidp_organization_{name}", f"{text} (UTC)", labels=["organization"])
            for each in shown:
                family.add_metric([each.organization], getattr(each, name))
            yield family
        names = GaugeMetricFamily("agentidp_organization_info", "Names", labels=["organization", "name"])
        for each in shown:
            if each.name is not None:
                names.add_metric([each.organization, each.name], 1)
        yield names


def largest(usage: tuple[Usage, ...], max_organizations: int) -> list[Usage]:
    """Return the usage of the organizations with the most tokens this month, of all others, and of unknown clients."""
    registered = sorted(
        (row for row in usage if row.organization != UNKNOWN),
        key=lambda row: (-row.tokens_this_month, row.organization),
    )
    unknown = [row for row in usage if row.organization == UNKNOWN]
    further = registered[max_organizations:]
    rest = Usage(OTHER, **{name: sum(getattr(row, name) for row in further) for name in _USAGE})
    return [*registered[:max_organizations], *([rest] if further else []), *unknown]


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _info(name: str, text: str, labels: dict[str, str]) -> Metric:
    # In the older text format, InfoMetricFamily becomes a gauge without a help text.
    family = GaugeMetricFamily(f"{name}_info", text, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family
