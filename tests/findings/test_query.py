"""What is judged: usage, and what is registered if the query says so."""

from __future__ import annotations

from dataclasses import replace

from agentidp.db.sql import Call, Rows
from agentidp.findings import KINDS, OF_REGISTERED, findings, findings_query
from agentidp.services import Services
from tests.factories import NOON


def asked(services: Services, *, of_registered: bool) -> set[str]:
    """The statements that findings run."""
    names: set[str] = set()

    def run(*calls: Call) -> list[Rows]:
        names.update(call.name.rpartition("/")[2] for call in calls)
        return [[] for _ in calls]

    findings(run, replace(findings_query(NOON, services.settings), of_registered=of_registered))
    return names


def test_a_replayed_history_needs_no_registry(services: Services) -> None:
    assert findings_query(NOON, services.settings).of_registered
    assert asked(services, of_registered=True) - asked(services, of_registered=False) == OF_REGISTERED
    assert KINDS.keys() > OF_REGISTERED
