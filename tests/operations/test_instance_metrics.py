"""The metrics of the whole instance."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from agentidp.counting import UNKNOWN_AGENT, UNKNOWN_ORGANIZATION, record_rejection
from agentidp.db.clock_check import LEEWAY
from agentidp.db.embedded_postgres import temporary
from agentidp.operations.instance_metrics import OTHER, UNKNOWN, InstanceMetrics, Usage, select_largest_usage
from agentidp.services import Services
from tests.conftest import Cast, settings_for
from tests.factories import NOON, SECRET_KEY, Clock, count_usage, database_of


def values(metrics: InstanceMetrics, name: str) -> dict[str, float]:
    """Return the values of a metric by the label ``organization``. The label is empty if the metric has no labels."""
    return {
        sample.labels.get("organization", ""): sample.value
        for metric in metrics.collect()
        for sample in metric.samples
        if sample.name == name
    }


def test_shows_the_usage_of_the_day_and_of_the_month_as_it_is_counted(
    services: Services, cast: Cast, metrics: InstanceMetrics
) -> None:
    acme = cast.acme
    for at, tokens in (
        (NOON, 2),
        (NOON.replace(hour=0, minute=0), 3),
        (NOON.replace(day=1, hour=0, minute=0), 4),
        # Outside: the last instant of the previous month and the first instant of the next day.
        (NOON.replace(day=1, hour=0, minute=0) - timedelta(microseconds=1), 8),
        (NOON.replace(day=16, hour=0, minute=0), 16),
    ):
        count_usage(services, acme.organization_id, acme.agent_id, at, tokens=tokens, requests=1)
    record_rejection(database_of(services, acme.organization_id), acme.agent_id, "token expired")
    record_rejection(database_of(services, UNKNOWN_ORGANIZATION), UNKNOWN_AGENT, "unknown client")
    metrics.read_database()
    samples = {
        name: values(metrics, f"agentidp_organization_{name}")
        for name in ("tokens_today", "tokens_this_month", "requests_today", "rejections_today")
    }
    outsider = cast.outsider.organization_id
    assert samples == {
        "tokens_today": {acme.organization_id: 5, outsider: 0, UNKNOWN: 0},
        "tokens_this_month": {acme.organization_id: 9, outsider: 0, UNKNOWN: 0},
        # A token also counts as a request.
        "requests_today": {acme.organization_id: 7, outsider: 0, UNKNOWN: 0},
        "rejections_today": {acme.organization_id: 1, outsider: 0, UNKNOWN: 1},
    }
    assert values(metrics, "agentidp_organizations") == {"": 2}
    assert abs(values(metrics, "agentidp_clock_ahead_seconds")[""]) < LEEWAY
    assert values(metrics, "agentidp_usage_read_timestamp_seconds") == {"": NOON.timestamp()}
    names = {
        (sample.labels["organization"], sample.labels["name"])
        for metric in metrics.collect()
        if metric.name == "agentidp_organization_info"
        for sample in metric.samples
    }
    # An organization without usage in this month has no name.
    assert names == {(acme.organization_id, "Acme")}


def test_the_others_are_summed_and_the_order_does_not_depend_on_that_of_the_database() -> None:
    usage = [Usage(f"org-{n}", f"{n}", n, n % 3, n * 2, 1) for n in range(6)]
    expected = [
        Usage("org-2", "2", 2, 2, 4, 1),
        Usage("org-5", "5", 5, 2, 10, 1),
        Usage(OTHER, None, 0 + 1 + 3 + 4, 0 + 1 + 0 + 1, 2 * (0 + 1 + 3 + 4), 4),
        Usage(UNKNOWN, None, 0, 0, 0, 9),
    ]
    unknown = Usage(UNKNOWN, None, 0, 0, 0, 9)
    assert select_largest_usage((unknown, *usage), 2) == expected
    assert select_largest_usage((*reversed(usage), unknown), 2) == expected
    assert [usage_row.organization for usage_row in select_largest_usage((*usage, unknown), 6)] == [
        *(f"org-{n}" for n in (2, 5, 1, 4, 0, 3)),
        UNKNOWN,
    ]
    assert [usage_row.organization for usage_row in select_largest_usage((*usage, unknown), 0)] == [OTHER, UNKNOWN]


def test_before_the_first_reading_the_rest_of_the_page_is_there(metrics: InstanceMetrics) -> None:
    names = {metric.name for metric in metrics.collect()}
    assert names == {"agentidp_build_info", "agentidp_workers_configured", "agentidp_database_up"}
    assert values(metrics, "agentidp_database_up") == {"": 0}


def test_whether_the_instance_secret_decrypts_a_signing_key(
    services: Services, cast: Cast, metrics: InstanceMetrics, clock: Clock
) -> None:
    metrics.read_database()
    assert values(metrics, "agentidp_signing_key_usable") == {"": 1}
    other = InstanceMetrics(replace(services.settings, secret_key=SECRET_KEY.swapcase().encode()), clock)
    other.read_database()
    other.close()
    assert values(other, "agentidp_signing_key_usable") == {"": 0}
    # All other metrics are still read.
    assert values(other, "agentidp_organization_tokens_today") == values(metrics, "agentidp_organization_tokens_today")


def test_a_scrape_asks_the_database_nothing(services: Services, metrics: InstanceMetrics) -> None:
    metrics.read_database()
    metrics.close()
    with psycopg.connect(str(services.settings.database_url)) as connection:
        # Earlier sessions may still be ending. Sessions of autovacuum and Citus come and go.
        sessions = (
            "select count(*) from pg_stat_activity where datname = current_database() "
            "and backend_type = 'client backend' and application_name not like 'citus%' and backend_start > "
            "(select backend_start from pg_stat_activity where pid = pg_backend_pid())"
        )
        assert values(metrics, "agentidp_database_up") == {"": 1}
        assert connection.execute(sessions).fetchone() == (0,)


@pytest.mark.slow
def test_while_the_database_is_unreachable_the_last_usage_stays(clock: Clock) -> None:
    from agentidp.db.migrations import migrate

    with temporary() as postgres:
        migrate(postgres.url)
        metrics = InstanceMetrics(settings_for(postgres.url), clock)
        try:
            metrics.read_database()
            assert values(metrics, "agentidp_database_up") == {"": 1}
            postgres.stop()
            clock.advance(minutes=1)
            metrics.read_database()
            assert values(metrics, "agentidp_database_up") == {"": 0}
            assert values(metrics, "agentidp_usage_read_timestamp_seconds") == {"": NOON.timestamp()}
            assert values(metrics, "agentidp_organization_tokens_today") == {UNKNOWN: 0}
        finally:
            metrics.close()
