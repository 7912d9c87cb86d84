"""Metrics of findings and alerts, summed over all organizations.

The metrics are read from tables, so they are the same on every server, no matter which process runs the watch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from agentidp.db.sql import Call, Rows

CALLS = (Call("metrics/findings", {}), Call("metrics/evaluation", {}), Call("metrics/alerts", {}))
"""The statements that are run for each organization. :meth:`WatchFigures.add` adds their rows."""

_ALERTS = {
    "waiting": "Alerts that wait to be sent",
    "delivered": "Alerts that were delivered in the last 24 hours",
    "abandoned": "Alerts that were given up in the last 24 hours",
}
"""The counts that the statement ``metrics/alerts`` returns, each with the help text of its metric."""


def build_gauge(name: str, help_text: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Return a gauge that has labels. The key of each value is the tuple of its labels' values."""
    gauge = GaugeMetricFamily(name, help_text, labels=labels)
    for label_values, value in sorted(values.items()):
        gauge.add_metric(label_values, value)
    return gauge


class WatchFigures:
    """The numbers of findings and alerts, summed over all organizations."""

    def __init__(self) -> None:
        self._findings: Counter[tuple[str, ...]] = Counter()
        self._alerts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _ALERTS}
        self._oldest_waiting: dict[tuple[str, ...], float] = {}
        self._evaluated_at: datetime | None = None
        self._seconds, self._not_computed = 0.0, 0

    def add(self, findings: Rows, evaluation: Rows, alerts: Rows) -> None:
        """Add one organization's rows, which the three :data:`CALLS` return."""
        for row in findings:
            self._findings[row.kind, row.severity] += row.findings
        for row in evaluation:
            self._evaluated_at = min(self._evaluated_at or row.evaluated_at, row.evaluated_at)
            self._seconds += row.seconds
            self._not_computed += row.not_computed
        for row in alerts:
            labels = (row.type,)
            for count_name, alert_counts in self._alerts.items():
                alert_counts[labels] += getattr(row, count_name)
            if row.oldest is not None:
                self._oldest_waiting[labels] = min(self._oldest_waiting.get(labels, math.inf), row.oldest.timestamp())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of findings and alerts."""
        yield build_gauge("agentidp_findings_open", "Findings that go on", ["kind", "severity"], self._findings)
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
            yield build_gauge(f"agentidp_alerts_{metric_suffix}", help_text, ["type"], self._alerts[metric_suffix])
        yield build_gauge(
            "agentidp_alerts_oldest_waiting_timestamp_seconds",
            "When the alert that has waited for longest was made",
            ["type"],
            self._oldest_waiting,
        )
