"""``agentidp agent``."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import ANY

from flask.testing import FlaskClient

from tests.cli.command import SUSPENDED, UUID, Command, ask_for_token
from tests.factories import NEW_AGENT


def test_creates_lists_shows_and_changes_an_agent(run: Command, acme: str) -> None:
    create = ("agent", "create", "--organization", "Acme")
    options = ("--description", "builds", "--owner", "Team A", "--expected-replicas", "12", "--scope", "agents:write")
    agent = run.json(*create, "baker", *options)
    assert agent == NEW_AGENT | {
        "provisioned": None,
        "redirectUris": [],
        "agentId": agent["agentId"],
        "name": "baker",
        "description": "builds",
        "owner": "Team A",
        "scopes": ["agents:write"],
        "expectedReplicas": 12,
        "createdAt": agent["createdAt"],
        "updatedAt": agent["createdAt"],
        "suspendsAt": None,
        "tokensNotBefore": None,
        "clientUri": None,
    }
    agent_id = run(*create, "builder", "--expected-replicas", "none")
    assert re.fullmatch(UUID, agent_id)
    shown = run.json("agent", "show", "builder")
    assert run.json("agent", "list", "--organization", acme) == [agent, shown]
    cells = run.cells("agent", "list", "--organization", "Acme")[1]
    assert cells[:5] + cells[8:10] == [agent_id, "builder", "", "analytics:read agents:read", "active", "", "-"]
    assert run.cells("agent", "show", agent_id) == [cells]
    options = ("--name", "cook", "--description", "cooks", "--owner", "Team B", "--scope", "agents:read", "--dpop")
    changed = run.json("agent", "update", "builder", *options, "--expected-replicas", "3")
    change = {"name": "cook", "description": "cooks", "owner": "Team B", "scopes": ["agents:read"]}
    change |= {"dpopBoundAccessTokens": True, "expectedReplicas": 3, "updatedAt": ANY}
    assert changed == shown | change
    # Omitted options keep their values.
    assert run.json("agent", "update", "cook", "--owner", "me") == changed | {"owner": "me", "updatedAt": ANY}


def without_instants(text: str) -> str:
    """Return the text without its times of day."""
    return re.sub(r"\d\d:\d\d UTC", "", text)


def test_asks_what_would_break_before_it_suspends_deletes_and_erases(
    run: Command, agent: str, service: FlaskClient
) -> None:
    _, _, secret = run("credential", "create", "--agent", agent).split("\t")
    assert [ask_for_token(service, agent, secret) for _ in range(3)] == [200] * 3
    of_agent = "the agent builder of Acme, which was issued 3 tokens in the last 30 days"
    for command, consequences in {
        "suspend": f"This suspends {of_agent}. The agent gets no token, and its current tokens stop working at once. "
        f"To end the suspension, run agentidp agent resume {agent}.\n",
        "end-tokens": f"This ends the tokens of {of_agent}. All tokens that were issued to the agent before now stop "
        "working at once, and the agent is signed out of the dashboard. The agent can get new tokens, so revoke a "
        "leaked credential as well.\n",
        "delete": f"This deletes {of_agent}, and revokes 1 credential. The agent's tokens stop working at once. Its "
        "usage is kept. A deletion cannot be undone.\n",
    }.items():
        asked = run.asked("agent", command, "builder")
        assert asked.startswith(f"{consequences}3 tokens in the last 90 days, the last one in the hour of ")
        assert "\nAt most 3 tokens may still be valid, until " in asked
        # The instant at which the tokens expire may be another minute.
        assert without_instants(run("agent", command, "builder", "--dry-run") + "\n") == without_instants(asked)
    assert ask_for_token(service, agent, secret) == 200
    assert run("agent", "end-tokens", "--yes", "builder") == ""
    assert run.json("agent", "show", "builder")["tokensNotBefore"] is not None
    assert run.cells("agent", "suspend", "--yes", "builder")[0][4] == "suspended"
    assert run.refused("token", "--agent", agent) == SUSPENDED.format(agent)
    assert run.json("agent", "resume", "builder")["status"] == "active"
    assert run.refused("agent", "erase", agent) == "only a deleted agent can be erased, so delete the agent first"
    assert run("agent", "delete", "--yes", "builder") == run("agent", "list", "--organization", "Acme") == ""
    for gone in ("show", "suspend", "delete"):
        assert run.refused("agent", gone, agent) == "there is no such agent"
    assert run.asked("agent", "erase", "builder").startswith(
        "This erases what people wrote about the deleted agent builder of Acme, which was issued 4 tokens in the last "
        "30 days: its name, "
    )


def test_an_organization_has_no_more_agents_than_the_setting_allows(run: Command, agent: str, tmp_path: Path) -> None:
    full = "The organization has 1 agents, which is the maximum; delete one first."
    assert run.refused("agent", "create", "x", "--organization", "Acme", AGENTIDP_MAX_AGENTS="1") == full
    file = tmp_path / "fleet.yaml"
    file.write_text("organizations: [{name: Acme, agents: [{name: x}]}]")
    assert full in run.refused("apply", "-f", str(file), AGENTIDP_MAX_AGENTS="1")
