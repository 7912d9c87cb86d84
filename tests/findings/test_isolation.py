"""Row-level security holds for the statements behind the findings: without their conditions they see no more."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.db.database import SERVICE_ROLE
from agentidp.db.organization import common_parameters
from agentidp.db.sql import load_sql
from agentidp.findings import KINDS
from agentidp.findings.finding import FindingsQuery
from agentidp.services import Services
from tests.citus import REFUSED_BY_CITUS
from tests.conftest import Cast
from tests.db.test_database import CONDITION
from tests.findings.conftest import STORY_AT, STORY_DAYS, Fleet, make_a_story

pytestmark = pytest.mark.slow


@REFUSED_BY_CITUS
def test_without_its_condition_a_statement_still_sees_only_the_callers_rows_and_none_without_the_setting(
    database_url: str, services: Services, cast: Cast, client: FlaskClient
) -> None:
    for agent in (cast.acme, cast.outsider):
        make_a_story(Fleet(services, agent, client))
    own = common_parameters(cast.acme.organization_id, STORY_AT)
    found: dict[tuple[str, str | None], list[list[Any]]] = {}
    for setting in (cast.acme.organization_id, "", None):
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                load_sql("database/configure_connection"), {"role": SERVICE_ROLE, "statement_timeout": "60s"}
            )
            if setting is not None:
                connection.execute("select set_config('agentidp.organization_id', %s, false)", [setting])
            for name, kind in KINDS.items():
                call = kind.call(FindingsQuery(at=STORY_AT, days=max(STORY_DAYS), token_ttl=3600, dominance_percent=50))
                values = own | call.parameters
                statement, unguarded = load_sql(call.name), CONDITION.sub("true", load_sql(call.name))
                assert unguarded != statement
                found[name, setting] = [
                    connection.execute(text.encode(), values).fetchall() for text in (statement, unguarded)
                ]
    for (name, setting), (guarded, unguarded) in found.items():
        assert guarded == unguarded, name
        assert bool(guarded) == bool(setting), (name, setting)


def test_another_organizations_story_changes_nothing(services: Services, cast: Cast, client: FlaskClient) -> None:
    fleet, others = Fleet(services, cast.acme, client), Fleet(services, cast.outsider, client)
    services.clock.now = STORY_AT  # type: ignore[attr-defined]
    fleet.count(fleet.agent("one"), STORY_AT, 5)
    fleet.store()
    assert fleet.findings() == []
    make_a_story(others)
    assert fleet.findings(days=90) == []
    found = others.findings(days=90, dominance_percent=50)
    assert {kind for one in found for kind in (one["kind"], *one["alsoSeenAs"])} == set(KINDS)
