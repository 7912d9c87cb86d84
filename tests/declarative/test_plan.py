"""The differences between a file and the database, with plain data."""

from __future__ import annotations

from typing import Any

import pytest

from agentidp.config import ConfigurationError
from agentidp.declarative.document import read_document
from agentidp.declarative.plan import Change, Plan, list_changes, list_conflicts, resolve_ids
from agentidp.declarative.schemas import RESOURCE_SERVER
from tests.factories import NEW_AGENT

AGENT = NEW_AGENT | {"agentId": "1", "name": "builder", "scopes": ["a", "b"], "quotas": {}, "trust": []}
SERVER = RESOURCE_SERVER.defaults | {
    "resourceServerId": "2",
    "resource": "https://api.example",
    "name": "API",
    "scopes": ["a"],
}
ACME: dict[str, Any] = {
    "organizationId": "org-1",
    "name": "Acme",
    "monthlyTokenBudget": None,
    "suspendDormantAfterDays": None,
    "status": "active",
    "quotas": {},
    "agents": [AGENT],
    "resourceServers": [SERVER],
}


def changes(current: dict[str, Any] | None = ACME, *, is_pruning: bool = False, **content: Any) -> list[Change]:
    return list_changes({"name": "Acme"} | content, current, is_pruning=is_pruning)


def test_what_the_file_leaves_out_stays() -> None:
    assert changes() == []
    assert changes(agents=[{"name": "builder"}], resourceServers=[], monthlyTokenBudget=None) == []


def test_the_order_of_scopes_means_nothing() -> None:
    assert changes(agents=[{"name": "builder", "scopes": ["b", "a"]}]) == []


def test_a_new_organization_comes_before_what_belongs_to_it_and_resource_servers_before_agents() -> None:
    plan_changes = changes(
        None,
        monthlyTokenBudget=5,
        agents=[{"name": "builder", "status": "suspended"}],
        resourceServers=[{"resource": "https://api.example", "name": "API"}],
    )
    assert [(change.action, change.type, change.organization, change.name, change.path) for change in plan_changes] == [
        ("create", "organization", "Acme", "Acme", ()),
        ("create", "resource server", "Acme", "https://api.example", ("resourceServers", 0)),
        ("create", "agent", "Acme", "builder", ("agents", 0)),
    ]
    defaults = {name: value for name, value in SERVER.items() if name not in ("resourceServerId", "resource")}
    assert [change.after for change in plan_changes] == [
        {"monthlyTokenBudget": 5},
        defaults | {"scopes": []},
        NEW_AGENT | {"status": "suspended"},
    ]


def test_only_the_members_that_differ_change() -> None:
    plan_changes = changes(
        status="suspended",
        agents=[{"name": "builder", "description": "new", "scopes": ["a"], "status": "active"}],
        resourceServers=[{"resource": "https://api.example", "name": "The API", "scopes": ["a"]}],
    )
    server, agent = ("resourceServers", 0), ("agents", 0)
    before, after = {"description": "", "scopes": ["a", "b"]}, {"description": "new", "scopes": ["a"]}
    name = "https://api.example"
    assert plan_changes == [
        Change("change", "organization", "Acme", "Acme", {"status": "active"}, {"status": "suspended"}, "org-1"),
        Change("change", "resource server", "Acme", name, {"name": "API"}, {"name": "The API"}, "2", server),
        Change("change", "agent", "Acme", "builder", before, after, "1", agent),
    ]


def test_prune_deletes_what_a_list_does_not_name_and_looks_at_no_list_that_is_left_out() -> None:
    assert changes(is_pruning=True) == []
    assert changes(agents=[]) == []
    was = {name: value for name, value in AGENT.items() if name not in ("agentId", "name")}
    gone = Change("delete", "agent", "Acme", "builder", was, {}, "1")
    assert changes(is_pruning=True, agents=[]) == [gone]
    plan_changes = changes(is_pruning=True, agents=[{"name": "b"}], resourceServers=[])
    assert [(change.action, change.name) for change in plan_changes] == [
        ("delete", "https://api.example"),
        ("delete", "builder"),
        ("create", "b"),
    ]


def test_an_organization_that_is_named_by_its_id_can_be_renamed() -> None:
    renamed = Change("change", "organization", "Acme II", "Acme II", {"name": "Acme"}, {"name": "Acme II"}, "org-1")
    assert changes(name="Acme II") == [renamed]


EXTRA = AGENT | {"agentId": "3", "name": "extra"}
FILE: dict[str, Any] = {"monthlyTokenBudget": 5, "agents": [{"name": "builder", "owner": "x", "scopes": ["a"]}]}


def having(*agents: dict[str, Any]) -> dict[str, Any]:
    """Return the content of Acme with these agents."""
    return ACME | {"agents": [*agents]}


def plan(current: dict[str, Any] | None) -> Plan:
    """Plans with pruning."""
    return Plan("org-1", changes(current, is_pruning=True, **FILE), [])


BUILDER = 'agent "builder" of "Acme"'
EXTRA_AGENT = 'agent "extra" of "Acme"'


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (ACME, ACME, []),
        # Objects that no plan changes.
        (ACME, having(AGENT | {"description": "new"}), []),
        (
            ACME,
            having(AGENT | {"owner": "x", "scopes": []}) | {"monthlyTokenBudget": 6},
            ['organization "Acme"', BUILDER],
        ),
        (having(AGENT | {"owner": "x", "scopes": ["a"]}), ACME, [BUILDER]),
        (ACME, having(), [BUILDER]),
        (having(AGENT | FILE["agents"][0]), having(), [BUILDER]),
        (having(), ACME, [BUILDER]),
        # An agent that was deleted and created again.
        (ACME, having(AGENT | {"agentId": "3"}), [BUILDER]),
        # Objects that the plan deletes.
        (ACME, having(AGENT, EXTRA), [EXTRA_AGENT]),
        (having(AGENT, EXTRA), ACME, [EXTRA_AGENT]),
        # Organizations that were created, and deleted and created again.
        (None, ACME, ['organization "Acme"', BUILDER]),
        (ACME, ACME | {"organizationId": "org-2"}, ['organization "Acme"']),
    ],
)
def test_names_the_objects_whose_changes_differ_between_two_plans(
    before: dict[str, Any] | None, after: dict[str, Any], lines: list[str]
) -> None:
    assert list_conflicts([plan(before)], [plan(after)]) == lines


def test_names_the_objects_of_an_organization_that_another_one_with_its_name_has_replaced() -> None:
    new_agent = [Change("create", "agent", "Acme", "builder")]
    assert list_conflicts([Plan("org-1", new_agent, [])], [Plan("org-2", new_agent, [])]) == [BUILDER]


class TestResolve:
    ROWS = [{"organizationId": f"org-{number}", "name": name} for number, name in enumerate("ABB")]

    def of(self, text: str) -> list[str | None]:
        declared = read_document(f"organizations: [{text}]".encode(), "agents.yaml")
        return resolve_ids(declared, self.ROWS)

    def test_finds_an_organization_by_name_or_id(self) -> None:
        assert self.of("{name: A}, {name: C}, {name: B, organizationId: org-2}") == ["org-0", None, "org-2"]

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("{name: B}", "name: 2 organizations have this name: add organizationId, one of org-1, org-2"),
            ("{name: C, organizationId: org-9}", "organizationId: there is no organization 'org-9'"),
            ("{name: A}, {name: C, organizationId: org-0}", "organizationId: this organization is in the file twice"),
        ],
    )
    def test_refuses_what_is_ambiguous(self, text: str, rule: str) -> None:
        with pytest.raises(ConfigurationError) as refused:
            self.of(text)
        assert str(refused.value).endswith(rule)
