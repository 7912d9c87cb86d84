"""Metrics of findings and alerts, summed over all organizations.

The metrics are read from tables, so they are the same on every server, no matter which process runs the watch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from agentidp.db.sql import Call, Rows

CALLS = (Call("metrics/findings", {}), Call("metrics/evaluation", {}), Call("metrics/alerts", {}))
"""The statements whose rows :meth:`WatchFigures.add` adds, per organization."""


class WatchFigures:
    """Sums over organizations."""

    def __init__(self) -> None:
        self._findings: Counter[tuple[str, str]] = Counter()
        self._alerts: dict[str, Counter[str]] = {name: Counter() for name in ("waiting", "delivered", "abandoned")}
        self._oldest_waiting: dict[str, datetime] = {}
        self._evaluated_at: datetime | None = None
        self._seconds, self._not_computed = 0.0, 0

    def add(self, findings: Rows, evaluation: Rows, alerts: Rows) -> None:
        """Add the rows that :data:`CALLS` return for one organization."""
        for row in findings:
            self._findings[row.kind, row.severity] += row.findings
        for row in evaluation:
            self._evaluated_at = min(self._evaluated_at or row.evaluated_at, row.evaluated_at)
            self._seconds += row.seconds
            self._not_computed += row.not_computed
        for row in alerts:
            for name, count in self._alerts.items():
                count[row.type] += getattr(row, name)
            if row.oldest is not None:
                self._oldest_waiting[row.type] = min(self._oldest_waiting.get(row.type, row.oldest), row.oldest)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        found = GaugeMetricFamily("agentidp_findings_open", "Findings that go on", labels=["kind", "severity"])
        for labels, count in sorted(self._findings.items()):
            found.add_metric(labels, count)
        yield found
        if self._evaluated_at is not None:
            oldest = "When the organization whose findings were not evaluated for longest was evaluated"
            at = self._evaluated_at.timestamp()
            yield GaugeMetricFamily("agentidp_findings_evaluated_timestamp_seconds", oldest, at)
            yield GaugeMetricFamily(
                "agentidp_findings_evaluation_seconds",
                "Time of each organization's last evaluation, summed",
                self._seconds,
            )
            yield GaugeMetricFamily(
                "agentidp_findings_not_computed", "Kinds of findings that ran out of time, summed", self._not_computed
            )
        for name, text in {
            "waiting": "Alerts that wait to be sent",
            "delivered": "Alerts that were delivered in the last 24 hours",
            "abandoned": "Alerts that were given up in the last 24 hours",
        }.items():
            family = GaugeMetricFamily(f"agentidp_alerts_{name}", text, labels=["type"])
            for type_, count in sorted(self._alerts[name].items()):
                family.add_metric([type_], count)
            yield family
        waiting = GaugeMetricFamily(
            "agentidp_alerts_oldest_waiting_timestamp_seconds",
            "When the alert that has waited for longest was made",
            labels=["type"],
        )
        for type_, oldest_at in sorted(self._oldest_waiting.items()):
            waiting.add_metric([type_], oldest_at.timestamp())
        yield waiting
