"""Which kinds are computed: those that are asked for, but for one whose statement runs out of time, which is named."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import psycopg
import pytest

from agentidp.db.database import Database
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows
from agentidp.findings import build_findings_query, compute_findings
from agentidp.findings.kinds import KINDS
from agentidp.registry.organizations import update_organization
from agentidp.services import Services
from tests.factories import NOON, PATIENCE
from tests.findings.conftest import Fleet

OF_THE_ORGANIZATION = {"budget"}
"""The kinds whose statements read no agent."""


@pytest.fixture
def over_budget(fleet: Fleet) -> Fleet:
    """An organization with an exceeded budget."""
    fleet.count(fleet.agent("agent"), NOON, 5)
    fleet.store()
    with fleet.database.transaction() as opened:
        update_organization(opened, {"monthly_token_budget": 1})
    return fleet


@pytest.mark.slow
def test_reports_the_other_kinds_and_names_those_that_ran_out_of_time(
    over_budget: Fleet, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentidp.findings.MAX_SECONDS", PATIENCE)
    settings = over_budget.services.settings
    query = build_findings_query(NOON, settings)
    of_the_organization = {KINDS[name].build_call(query).name for name in OF_THE_ORGANIZATION}
    with (
        contextlib.closing(Database(database_url, replace(settings, statement_timeout=0.2))) as hasty,
        contextlib.closing(Database(database_url, replace(settings, statement_timeout=PATIENCE / 2))) as patient,
    ):

        def run(*calls: Call) -> list[Rows]:
            """Only what waits for the lock is short of time, however slow the machine is."""
            database = patient if {call.name for call in calls} <= of_the_organization else hasty
            return database.of(over_budget.organization_id, NOON).run(*calls)

        assert compute_findings(patient.of(over_budget.organization_id, NOON).run, query).not_computed == ()
        with psycopg.connect(database_url) as blocking:
            blocking.execute("lock table agents in access exclusive mode")
            results = compute_findings(run, query)
        assert {*results.not_computed} == {*KINDS} - OF_THE_ORGANIZATION
        assert {finding.kind for finding in results.findings} == {"budget"}
        with psycopg.connect(database_url) as blocking:
            blocking.execute(
                "lock table agents, organizations, usage_daily, agent_usage_daily in access exclusive mode"
            )
            with pytest.raises(DatabaseUnavailable):
                compute_findings(hasty.of(over_budget.organization_id, NOON).run, query)


def list_statements(services: Services, *, includes_registry: bool) -> set[str]:
    """Return the names of the statements that computing the findings runs."""
    names: set[str] = set()

    def run(*calls: Call) -> list[Rows]:
        names.update(call.name.rpartition("/")[2] for call in calls)
        return [[] for _ in calls]

    compute_findings(run, replace(build_findings_query(NOON, services.settings), includes_registry=includes_registry))
    return names


def test_a_replayed_history_needs_no_registry(services: Services) -> None:
    assert build_findings_query(NOON, services.settings).includes_registry
    assert list_statements(services, includes_registry=True) - list_statements(services, includes_registry=False) == {
        name for name, kind in KINDS.items() if kind.reads_registry
    }
