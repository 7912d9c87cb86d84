"""``agentidp agent``."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

from agentidp.scopes import SCOPES
from tests.cli.command import SUSPENDED, UUID, Command
from tests.factories import NEW_AGENT


def test_create_prints_its_id_and_list_shows_it(run: Command) -> None:
    organization_id = run("organization", "create", "Acme")
    agent_id = run("agent", "create", "builder", "--organization", organization_id)
    assert re.fullmatch(UUID, agent_id)
    line = run("agent", "list", "--organization", organization_id).split("\t")
    assert line[:5] == [agent_id, "builder", "", "analytics:read agents:read", "active"]


def test_as_json(run: Command) -> None:
    organization_id = run("organization", "create", "Acme")
    options = (
        "--organization",
        organization_id,
        "--description",
        "builds",
        "--owner",
        "Team A",
        "--expected-replicas",
        "12",
        "--scope",
        "agents:write",
    )
    made = json.loads(run("agent", "create", "builder", *options, "--json"))
    assert made == NEW_AGENT | {
        "provisioned": None,
        "agentId": made["agentId"],
        "name": "builder",
        "description": "builds",
        "owner": "Team A",
        "scopes": ["agents:write"],
        "expectedReplicas": 12,
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
        "suspendsAt": None,
    }
    assert json.loads(run("agent", "list", "--organization", organization_id, "--json")) == [made]


def test_what_is_refused(run: Command) -> None:
    organization_id = run("organization", "create", "Acme")
    run("agent", "create", "builder", "--organization", organization_id)
    missing = f"org-{uuid.uuid4()}"
    for arguments, sentence in {
        ("builder", organization_id): "Another agent has this name. (name is taken)",
        ("", organization_id): "name must have 1 to 100 characters",
        ("a\tb", organization_id): "name must not hold control characters or lone surrogates",
        ("x", missing): f"there is no organization '{missing}'",
        ("x", "' or '1'='1"): "there is no organization \"' or '1'='1\"",
        ("x", "\udcff"): "there is no organization '\\udcff'",
    }.items():
        assert run.refused("agent", "create", arguments[0], "--organization", arguments[1]) == sentence
    assert run.refused("agent", "list", "--organization", missing) == f"there is no organization '{missing}'"
    description = run.refused("agent", "create", "x", "--organization", organization_id, "--description", "\udcff")
    assert description == "description must not hold control characters or lone surrogates"


def agent_of(run: Command, agent_id: str) -> dict[str, object]:
    """The agent as ``agent show`` prints it."""
    shown: dict[str, object] = json.loads(run("agent", "show", agent_id, "--json"))
    return shown


def test_update_changes_what_is_given_and_prints_the_agent(run: Command) -> None:
    agent_id = run.agent()
    before = agent_of(run, agent_id)
    options = ("--name", "baker", "--description", "bakes", "--owner", "Team B", "--scope", "agents:read", "--dpop")
    changed = json.loads(run("agent", "update", agent_id, *options, "--json"))
    assert changed == before | {
        "name": "baker",
        "description": "bakes",
        "owner": "Team B",
        "scopes": ["agents:read"],
        "dpopBoundAccessTokens": True,
        "updatedAt": changed["updatedAt"],
    }
    assert agent_of(run, agent_id) == changed
    changed = json.loads(run("agent", "update", agent_id, "--description", "", "--no-dpop", "--json"))
    assert (changed["name"], changed["description"], changed["dpopBoundAccessTokens"]) == ("baker", "", False)
    assert run("agent", "show", agent_id).split("\t")[:5] == [agent_id, "baker", "", "agents:read", "active"]


def test_expected_replicas_are_declared_changed_and_removed(run: Command) -> None:
    organization_id = run("organization", "create", "Acme")
    agent_id = run("agent", "create", "builder", "--organization", organization_id, "--expected-replicas", "none")
    assert agent_of(run, agent_id)["expectedReplicas"] is None
    for text, expected in {"1": 1, "10000": 10_000, "none": None, "12": 12}.items():
        run("agent", "update", agent_id, "--expected-replicas", text)
        assert agent_of(run, agent_id)["expectedReplicas"] == expected
    assert json.loads(run("agent", "update", agent_id, "--owner", "me", "--json"))["expectedReplicas"] == 12
    assert run("agent", "show", agent_id).split("\t")[-4:-2] == ["me", "12"]
    for wrong in ("0", "-1", "10001", "9" * 5000, "1.0", "1_0", "", "None", "٣"):
        refused = run.invoke("agent", "update", agent_id, "--expected-replicas", wrong)
        rule = "Invalid value for '--expected-replicas': must be a whole number from 1 to 10000, or none\n"
        assert (refused.exit_code, refused.stderr.endswith(rule)) == (2, True), refused.stderr


def test_a_suspended_agent_gets_no_token_until_it_is_resumed(run: Command) -> None:
    agent_id = run.agent()
    assert run("agent", "suspend", "--yes", agent_id).split("\t")[4] == "suspended"
    assert run.refused("token", "--agent", agent_id) == SUSPENDED.format(agent_id)
    assert json.loads(run("agent", "resume", agent_id, "--json"))["status"] == "active"
    assert run("token", "--agent", agent_id)


def test_delete_leaves_nothing_to_show(run: Command) -> None:
    organization_id = run("organization", "create", "Acme")
    agent_id = run("agent", "create", "builder", "--organization", organization_id)
    assert run("agent", "delete", "--yes", agent_id) == ""
    assert run("agent", "list", "--organization", organization_id) == ""
    for command in (("show",), ("suspend", "--yes"), ("delete", "--yes")):
        assert run.refused("agent", *command, agent_id) == "there is no such agent"


def test_a_command_about_an_agent_that_is_not_there(shared_run: Command) -> None:
    agent_id = str(uuid.uuid4())
    for command in (("show",), ("update", "--name", "x"), ("suspend",), ("resume",), ("delete",)):
        assert shared_run.refused("agent", *command, agent_id) == f"there is no agent {agent_id}"


def test_an_agent_can_have_the_scopes_of_the_organizations_resource_servers(run: Command) -> None:
    acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
    options = ("--organization", acme, "--name", "billing", "--scope", "invoices:read")
    run("resource-server", "create", "https://billing.example", *options)
    create = ("agent", "create", "reader", "--scope", "invoices:read", "--scope", "agents:read", "--organization")
    agent_id = run(*create, acme)
    assert agent_of(run, agent_id)["scopes"] == ["invoices:read", "agents:read"]
    refused = f"scopes must be among {', '.join(SCOPES)}"
    register = ": register other scopes with their resource server first"
    assert run.refused(*create, other) == refused + register
    assert run.refused("agent", "update", agent_id, "--scope", "nothing") == f"{refused}, invoices:read{register}"
    assert run.refused("agent", "update", agent_id, "--scope", "a b") == (
        "scopes must be 1 to 100 printable ASCII characters without blank, quote and backslash"
    )
    other_agent = run("agent", "create", "second", "--organization", acme)
    assert run.refused("agent", "update", other_agent, "--name", "reader") == (
        "Another agent has this name. (name is taken)"
    )


def test_an_organization_has_no_more_agents_than_the_setting_allows(run: Command, tmp_path: Path) -> None:
    full = "The organization has 3 agents, which is the maximum; delete one first."
    acme = run("organization", "create", "Acme")
    for number in range(3):
        run("agent", "create", str(number), "--organization", acme)
    assert run.refused("agent", "create", "four", "--organization", acme, AGENTIDP_MAX_AGENTS="3") == full
    file = tmp_path / "fleet.yaml"
    file.write_text(f"organizations: [{{organizationId: {acme}, name: Acme, agents: [{{name: four}}]}}]")
    assert full in run.refused("apply", "-f", str(file), AGENTIDP_MAX_AGENTS="3")
