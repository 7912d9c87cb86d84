"""Metrics of the whole instance: its release, its database, usage per organization, findings and alerts.

Usage is read from the database's counters, so it is exact, and the same after a restart and on every application
server. A thread reads it periodically. A scrape returns the last reading and never waits for the database.
"""

from __future__ import annotations

import logging
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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

logger = logging.getLogger("agentidp")

INTERVAL = 15
"""Minimum seconds between two readings of the metrics from the database."""

MAX_SHARE = 0.05
"""Maximum share of the time that is spent on reading the metrics. After a slow reading, the next one begins later."""

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

_WATCH_CALLS = (Call("metrics/findings", {}), Call("metrics/evaluation", {}), Call("metrics/alerts", {}))
"""The calls that read the findings and alerts of an organization for :meth:`WatchFigures.add`."""

_ALERTS = {
    "waiting": "Alerts that wait to be sent",
    "delivered": "Alerts that were delivered in the last 24 hours",
    "abandoned": "Alerts that were given up in the last 24 hours",
}
"""The counts that the statement ``metrics/alerts`` returns, each with the help text of its metric."""


@dataclass(frozen=True)
class Usage:
    """The usage of an organization on the current UTC day and in the current UTC month."""

    organization: str
    name: str | None = None
    tokens_today: int = 0
    tokens_this_month: int = 0
    requests_today: int = 0
    rejections_today: int = 0


class WatchFigures:
    """The numbers of findings and alerts, summed over all organizations."""

    def __init__(self) -> None:
        self._findings: Counter[tuple[str, ...]] = Counter()
        self._alerts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _ALERTS}
        self._oldest_waiting: dict[tuple[str, ...], float] = {}
        self._evaluated_at: datetime | None = None
        self._seconds, self._not_computed = 0.0, 0

    def add(self, finding_rows: Rows, evaluation_rows: Rows, alert_rows: Rows) -> None:
        """Add one organization's rows, which the three :data:`_WATCH_CALLS` return."""
        for finding in finding_rows:
            self._findings[finding.kind, finding.severity] += finding.findings
        for evaluation in evaluation_rows:
            self._evaluated_at = min(self._evaluated_at or evaluation.evaluated_at, evaluation.evaluated_at)
            self._seconds += evaluation.seconds
            self._not_computed += evaluation.not_computed
        for alert in alert_rows:
            labels = (alert.type,)
            for count_name, alert_counts in self._alerts.items():
                alert_counts[labels] += getattr(alert, count_name)
            if alert.oldest is not None:
                self._oldest_waiting[labels] = min(self._oldest_waiting.get(labels, math.inf), alert.oldest.timestamp())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of findings and alerts."""
        yield _build_gauge("agentidp_findings_open", "Findings that go on", ["kind", "severity"], self._findings)
        if self._evaluated_at is not None:
            yield GaugeMetricFamily(
                "agentidp_findings_evaluated_timestamp_seconds",
                "When the organization whose findings were not evaluated for longest was evaluated",
                self._evaluated_at.timestamp(),
            )
            yield GaugeMetricFamily(
                "agentidp_findings_evaluation_seconds",
                "Time of each organization's last evaluation, summed",
                self._seconds,
            )
            yield GaugeMetricFamily(
                "agentidp_findings_not_computed", "Kinds of findings that ran out of time, summed", self._not_computed
            )
        for metric_suffix, help_text in _ALERTS.items():
            yield _build_gauge(f"agentidp_alerts_{metric_suffix}", help_text, ["type"], self._alerts[metric_suffix])
        yield _build_gauge(
            "agentidp_alerts_oldest_waiting_timestamp_seconds",
            "When the alert that has waited for longest was made",
            ["type"],
            self._oldest_waiting,
        )


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
    """A Prometheus collector of the instance's metrics. It may be scraped while another thread reads the database.

    :param clock: returns the current time, with time zone.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._settings, self._clock = settings, clock
        self._database = Database(settings.primary_url, replace(settings, pool_max_size=1))
        self._keys = SigningKeys(self._database, settings)
        self._reading = Reading()

    def read_database(self) -> None:
        """Read the metrics from the database. If the database does not respond, keep the earlier values."""
        now, usage, finding_alert_counts = self._clock(), [], WatchFigures()
        try:
            for [organization_id] in self._database.fetch_unscoped("metrics/organizations"):
                usage_rows, *finding_alert_rows = self._database.of(organization_id, now).run(
                    _USAGE_CALL, *_WATCH_CALLS
                )
                usage.append(_to_usage(organization_id, usage_rows))
                finding_alert_counts.add(*finding_alert_rows)
            [usage_rows] = self._database.of(UNKNOWN_ORGANIZATION, now).run(_USAGE_CALL)
            usage.append(_to_usage(UNKNOWN, usage_rows))
        except DatabaseUnavailable:
            self._reading = replace(self._reading, is_database_up=False)
        else:
            self._reading = Reading(True, self._has_signing_key(), now.timestamp(), tuple(usage), finding_alert_counts)

    def keep_reading(self) -> None:
        """Read the metrics from the database periodically. This method does not return."""
        while True:
            began_at = time.monotonic()
            try:
                self.read_database()
            except Exception as error:  # If this thread ended, the metrics would never change again.
                self._reading = replace(self._reading, is_database_up=False)
                logger.error("usage cannot be read", extra={"fields": {"error": type(error).__name__}})
            time.sleep(max(INTERVAL, (time.monotonic() - began_at) / MAX_SHARE))

    def close(self) -> None:
        """Close the database connection."""
        self._database.close()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last reading."""
        last_reading = self._reading
        release_labels: dict[tuple[str, ...], float] = {(version("agentidp"), platform.python_version()): 1}
        # This metric is no InfoMetricFamily, because Prometheus's older text format would lose the metric's help text.
        yield _build_gauge("agentidp_build_info", "The release that runs", ["version", "python"], release_labels)
        gauges: list[tuple[str, str, float]] = [
            ("agentidp_workers_configured", "Workers that should run", self._settings.web_concurrency),
            ("agentidp_database_up", "Whether the database responds", last_reading.is_database_up),
        ]
        if (clock_seconds_ahead := self._database.seconds_ahead) is not None:
            help_text = "The clock of this machine minus the database's"
            gauges.append(("agentidp_clock_ahead_seconds", help_text, clock_seconds_ahead))
        if not math.isnan(last_reading.read_at):
            help_text = "Whether the instance secret decrypts a signing key"
            gauges += [
                ("agentidp_signing_key_usable", help_text, last_reading.has_signing_key),
                ("agentidp_usage_read_timestamp_seconds", "When usage was read last", last_reading.read_at),
                ("agentidp_organizations", "Organizations that have agents", len(last_reading.usage) - 1),
            ]
            yield from _build_usage_metrics(last_reading.usage)
            yield from last_reading.watch.collect()
        for metric_name, help_text, gauge_value in gauges:
            yield GaugeMetricFamily(metric_name, help_text, gauge_value)

    def _has_signing_key(self) -> bool:
        try:
            self._keys.current()
        except DatabaseUnavailable:
            return False
        return True


def _to_usage(organization: str, rows: Rows) -> Usage:
    return Usage(organization, **rows[0]._asdict()) if rows else Usage(organization)


def _build_usage_metrics(usage: tuple[Usage, ...]) -> Iterator[Metric]:
    shown_usage = select_largest_usage(usage, MAX_ORGANIZATIONS)
    for counter_name, help_text in _USAGE.items():
        counts: dict[tuple[str, ...], float] = {(row.organization,): getattr(row, counter_name) for row in shown_usage}
        yield _build_gauge(f"agentidp_organization_{counter_name}", f"{help_text} (UTC)", ["organization"], counts)
    name_labels: dict[tuple[str, ...], float] = {(row.organization, row.name): 1 for row in shown_usage if row.name}
    yield _build_gauge("agentidp_organization_info", "Names", ["organization", "name"], name_labels)


def select_largest_usage(usage: tuple[Usage, ...], max_organizations: int) -> list[Usage]:
    """Return the usage of the organizations with most tokens this month, of all others together, of unknown clients.

    :param max_organizations: maximum number of organizations that are returned separately.
    """
    unknown_client_entries = [entry for entry in usage if entry.organization == UNKNOWN]
    organization_entries = [entry for entry in usage if entry.organization != UNKNOWN]
    organization_entries.sort(key=lambda entry: (-entry.tokens_this_month, entry.organization))
    other_entries = organization_entries[max_organizations:]
    other_sum = Usage(OTHER, **{counter: sum(getattr(entry, counter) for entry in other_entries) for counter in _USAGE})
    return [*organization_entries[:max_organizations], *([other_sum] if other_entries else []), *unknown_client_entries]


def _build_gauge(name: str, help_text: str, label_names: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Return a gauge that has labels. The key of each value is the tuple of its labels' values."""
    gauge = GaugeMetricFamily(name, help_text, labels=label_names)
    for label_values, gauge_value in sorted(values.items()):
        gauge.add_metric(label_values, gauge_value)
    return gauge
