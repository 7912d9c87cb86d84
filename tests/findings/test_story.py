"""Two organizations with one story, in which every kind of finding has something to say, and what must change nothing.

Nothing is stored but the story, so that the tests of this module share it.
"""

from __future__ import annotations

import itertools
import re
from contextlib import closing
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask

from agentidp import demo
from agentidp.analytics.period import Period
from agentidp.db.database import SERVICE_ROLE, Database
from agentidp.db.organization import common_parameters
from agentidp.db.sql import Call, load_sql
from agentidp.findings import compute_findings, thresholds
from agentidp.findings.finding import Finding
from agentidp.findings.kinds import KINDS
from agentidp.services import Services
from tests.citus import REFUSED_BY_CITUS
from tests.conftest import Cast, settings_for
from tests.db.test_database import CONDITION
from tests.factories import Clock, database_of, make_agent, make_organization
from tests.findings.conftest import STORY_AT, Fleet, build_query, make_a_story
from tests.helpers.time_zones import ZONES, session_time_zone, with_options

pytestmark = pytest.mark.slow

INSTANTS = [STORY_AT - timedelta(hours=12, minutes=20), STORY_AT + timedelta(hours=11, minutes=20)]
"""The first of a month, which New York has not yet begun by the first of these, and Kiritimati ended by the last."""

DAYS = (4, 20, 39, 90)
"""How far to look back."""


class Story:
    """The agents and usage of both organizations. The usage of the second organization is in two slots."""

    def __init__(self, app: Flask, cast: Cast) -> None:
        self.services: Services = app.extensions["agentidp"]
        clock = self.services.clock
        assert isinstance(clock, Clock)
        clock.now = STORY_AT
        self.fleets = [Fleet(self.services, agent, app.test_client()) for agent in (cast.acme, cast.outsider)]
        self.silent, _ = (make_a_story(fleet, slots=place + 1) for place, fleet in enumerate(self.fleets))

    def findings(self, fleet: Fleet, days: int = 90) -> list[Finding]:
        """Return the findings of an organization."""
        run = database_of(self.services, fleet.organization_id).run
        with pytest.MonkeyPatch.context() as patch:
            # No agent of the story has more.
            patch.setattr(thresholds, "MAX_DOMINANCE_PERCENT", 50)
            result = compute_findings(run, build_query(STORY_AT, days=days))
        assert not result.not_computed
        return result.findings

    def rows(self, database: Database, at: datetime, days: int) -> dict[str, Any]:
        """The rows of every statement behind the findings and the dashboard of the first organization."""
        calls = {name: kind.build_call(build_query(at, days=days)) for name, kind in KINDS.items()}
        month = Period(at.date().replace(day=1), at.date()).bounds
        calls |= {
            "agent": Call("analytics/agent_activity", {"agent_id": self.silent, **Period.of(30, at).bounds}),
            "agents": Call("dashboard/agents", AGENTS | Period.of(30, at).bounds),
            "months": Call("usage_history/stale_months", {}),
            "names": Call("analytics/agent_usage", month | {"with_names": True, "limit": None}),
        }
        rows = database.of(self.fleets[0].organization_id, at).run(*calls.values())
        return dict(zip(calls, rows, strict=True))


AGENTS = {
    "search": "",
    "owner": None,
    "status": None,
    "agent_ids": None,
    "sort": "tokens",
    "descending": True,
    "limit": 50,
    "offset": 0,
}


@pytest.fixture(scope="module")
def story(shared_app: Flask, shared_cast: Cast) -> Story:
    """See :class:`Story`."""
    return Story(shared_app, shared_cast)


@REFUSED_BY_CITUS
def test_without_its_condition_a_statement_still_sees_only_the_callers_rows_and_none_without_the_setting(
    story: Story,
) -> None:
    organization_id = story.fleets[0].organization_id
    rows_by_setting: dict[tuple[str, str | None], list[list[Any]]] = {}
    for setting in (organization_id, "", None):
        with psycopg.connect(str(story.services.settings.database_url), autocommit=True) as connection:
            connection.execute(
                load_sql("database/configure_connection"), {"role": SERVICE_ROLE, "statement_timeout": "60s"}
            )
            if setting is not None:
                connection.execute("select set_config('agentidp.organization_id', %s, false)", [setting])
            for name, kind in KINDS.items():
                call = kind.build_call(build_query(STORY_AT, days=90))
                values = common_parameters(organization_id, STORY_AT) | call.parameters
                statement, unguarded = load_sql(call.name), CONDITION.sub("true", load_sql(call.name))
                assert unguarded != statement
                rows_by_setting[name, setting] = [
                    connection.execute(text.encode(), values).fetchall() for text in (statement, unguarded)
                ]
    for (name, setting), (guarded, unguarded) in rows_by_setting.items():
        assert guarded == unguarded, name
        assert bool(guarded) == bool(setting), (name, setting)


def test_another_organizations_story_changes_nothing(story: Story) -> None:
    services = story.services
    quiet = Fleet(services, make_agent(services, make_organization(services)), story.fleets[0].client)
    quiet.count(quiet.agent("one"), STORY_AT, 5)
    quiet.store()
    assert story.findings(quiet) == []
    findings = story.findings(story.fleets[0])
    assert {kind for reported in findings for kind in (reported.kind, *reported.also_seen_as)} == {*KINDS}


ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.mark.parametrize("days", [7, 90])
def test_slots_are_added_up(story: Story, days: int) -> None:
    first, second = (
        sorted(
            (
                reported.kind,
                reported.agent_name or "",
                reported.begins,
                reported.ends,
                reported.observed,
                reported.expected,
                ID.sub("", reported.summary),
            )
            for reported in story.findings(fleet, days)
        )
        for fleet in story.fleets
    )
    assert first == second


@pytest.mark.parametrize("zone", ZONES[1:])
def test_the_time_zone_of_a_session_changes_nothing(story: Story, zone: str) -> None:
    database_url = str(story.services.settings.database_url)
    url = with_options(database_url, timezone=zone, datestyle="SQL,DMY", intervalstyle="iso_8601")
    kinds_with_rows: set[str] = set()
    with closing(Database(url, settings_for(url))) as elsewhere:
        for at, days in itertools.product(INSTANTS, DAYS):
            expected = story.rows(story.services.database, at, days)
            assert story.rows(elsewhere, at, days) == expected
            kinds_with_rows |= {name for name, rows in expected.items() if rows}
    with closing(Services.of(settings_for(url), story.services.clock)) as there:
        assert session_time_zone(there) == zone
    assert kinds_with_rows == {*KINDS, "agent", "agents", "months", "names"}


def test_what_is_compared_falls_on_days_that_zones_disagree_about() -> None:
    assert {date(2026, 3, 31), date(2026, 4, 1)} <= {
        starts_at.date() for _, starts_at, _ in demo.generate_traffic(STORY_AT)
    }
    assert {at.date() for at in INSTANTS} == {date(2026, 4, 1)}


def test_an_agents_last_hour_is_an_instant(story: Story) -> None:
    [first, *_] = story.rows(story.services.database, STORY_AT, 30)["agent"]
    traffic = demo.generate_traffic(STORY_AT)
    assert first.last_token_hour == max(
        starts_at for agent, starts_at, (tokens, *_) in traffic if agent is demo.SILENT and tokens
    )
