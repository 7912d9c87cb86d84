"""The metrics of findings and alerts."""

from __future__ import annotations

from datetime import datetime, timedelta

from agentidp.alerts import outbox
from agentidp.findings import build_findings_query
from agentidp.findings.finding import Severity
from agentidp.findings.store import evaluate
from agentidp.operations.instance_metrics import InstanceMetrics
from agentidp.services import Services
from tests.alerts.conftest import change
from tests.conftest import Cast
from tests.factories import NOON, a_finding, execute, make_agent, make_alert_target, make_finding, make_organization


def values(metrics: InstanceMetrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by its labels."""
    metrics.read_database()
    return {
        tuple(sample.labels.values()): sample.value
        for metric in metrics.collect()
        for sample in metric.samples
        if sample.name == f"agentidp_{name}"
    }


def test_findings_that_go_on_are_counted_by_kind_and_severity_and_those_that_ended_are_not(
    services: Services, cast: Cast, database_url: str, metrics: InstanceMetrics
) -> None:
    assert values(metrics, "findings_open") == {}
    make_finding(services, cast.acme.organization_id)
    make_finding(services, cast.outsider.organization_id)
    third = make_agent(services, make_organization(services, "Third"))
    make_finding(services, third.organization_id, a_finding(NOON, severity=Severity.critical, kind="quota"))
    assert values(metrics, "findings_open") == {("spike", "warning"): 2, ("quota", "critical"): 1}
    execute(database_url, "update findings set ended_at = now() where kind = 'quota'")
    assert values(metrics, "findings_open") == {("spike", "warning"): 2}


def test_the_evaluation_that_is_longest_ago_decides_how_old_findings_are(
    services: Services, cast: Cast, database_url: str, metrics: InstanceMetrics
) -> None:
    assert values(metrics, "findings_evaluated_timestamp_seconds") == {(): NOON.timestamp()}
    assert values(metrics, "findings_evaluation_seconds") == {(): 0}
    for agent, minutes in ((cast.acme, 5), (cast.outsider, 3)):
        at = NOON + timedelta(minutes=minutes)
        database = services.database.of(agent.organization_id, at)
        evaluate(database.run, database.transaction, build_findings_query(at, services.settings))
    assert values(metrics, "findings_evaluated_timestamp_seconds") == {(): (NOON + timedelta(minutes=3)).timestamp()}
    [[took]] = execute(database_url, "select sum(seconds) from finding_evaluations")
    assert 0 < took < 60
    execute(database_url, "update finding_evaluations set not_computed = '{spike,quota}'")
    [seconds] = values(metrics, "findings_evaluation_seconds").values()
    assert abs(seconds - took) < 1e-6
    assert values(metrics, "findings_not_computed") == {(): 4}


class TestAlerts:
    def enqueue(self, services: Services, organization_id: str, at: datetime) -> None:
        with services.database.of(organization_id, at).transaction() as opened:
            outbox.enqueue_alert(opened, change(at))

    def test_waiting_delivered_and_abandoned_by_the_type_of_the_target(
        self, services: Services, cast: Cast, database_url: str, metrics: InstanceMetrics
    ) -> None:
        assert values(metrics, "alerts_waiting") == {}
        acme, outsider = cast.acme.organization_id, cast.outsider.organization_id
        first, second = make_alert_target(services, acme), make_alert_target(services, outsider)
        assert values(metrics, "alerts_waiting") == {("webhook",): 0}
        assert values(metrics, "alerts_oldest_waiting_timestamp_seconds") == {}
        early, finished = NOON - timedelta(days=1), "update alert_deliveries set {} = %s where target_id = %s"
        for organization_id, at in ((acme, NOON), (acme, early), (outsider, NOON - timedelta(hours=1))):
            self.enqueue(services, organization_id, at)
        assert values(metrics, "alerts_waiting") == {("webhook",): 3}
        assert values(metrics, "alerts_oldest_waiting_timestamp_seconds") == {("webhook",): early.timestamp()}
        execute(database_url, finished.format("delivered_at"), early, first)
        assert values(metrics, "alerts_waiting") == {("webhook",): 1}
        assert values(metrics, "alerts_delivered") == {("webhook",): 2}
        execute(database_url, finished.format("delivered_at"), early - timedelta(microseconds=1), first)
        assert values(metrics, "alerts_delivered") == {("webhook",): 0}
        execute(database_url, finished.format("abandoned_at"), NOON, second)
        assert values(metrics, "alerts_abandoned") == {("webhook",): 1}
        assert values(metrics, "alerts_oldest_waiting_timestamp_seconds") == {}

    def test_what_waits_for_a_disabled_target_is_no_alarm(
        self, services: Services, cast: Cast, database_url: str, metrics: InstanceMetrics
    ) -> None:
        make_alert_target(services, cast.acme.organization_id)
        self.enqueue(services, cast.acme.organization_id, NOON)
        execute(database_url, "update alert_targets set enabled = false")
        assert values(metrics, "alerts_waiting") == {("webhook",): 0}
        assert values(metrics, "alerts_oldest_waiting_timestamp_seconds") == {}
