"""``agentidp quota``."""

from __future__ import annotations

import json
import re
import uuid

import pytest

from agentidp.cli import quota
from agentidp.oauth.quotas import WINDOWS
from agentidp.registry.quotas import MAX_TOKENS
from tests.cli.command import Command


@pytest.fixture
def organization_id(run: Command) -> str:
    """Of a new organization."""
    return run("organization", "create", "Acme")


@pytest.fixture
def agent(run: Command, organization_id: str) -> str:
    """The id of its agent."""
    return run("agent", "create", "builder", "--organization", organization_id)


@pytest.mark.parametrize("size", [1, 2, 3, 500])
def test_sets_lists_and_removes(
    run: Command, organization_id: str, agent: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "PAGE_SIZE", size)
    run("quota", "set", "--agent", agent, "--per", "day", "--tokens", "1000", "--enforce")
    run("quota", "set", "--agent", agent, "--per", "hour", "--tokens", "100")
    run("quota", "set", "--organization", organization_id, "--per", "month", "--tokens", str(MAX_TOKENS), "--observe")
    listed = json.loads(run("quota", "list", "--organization", organization_id, "--json"))
    names = ("agentId", "window", "tokens", "enforce", "used", "left", "refused", "observed")
    assert [tuple(one[name] for name in names) for one in listed] == [
        (None, "month", MAX_TOKENS, False, 0, MAX_TOKENS, 0, 0),
        (agent, "hour", 100, False, 0, 100, 0, 0),
        (agent, "day", 1000, True, 0, 1000, 0, 0),
    ]
    of_agent = run("quota", "list", "--agent", agent).splitlines()
    assert [line.split("\t")[:9] for line in of_agent] == [
        [agent, "builder", "hour", "100", "False", "0", "100", "0", "0"],
        [agent, "builder", "day", "1000", "True", "0", "1000", "0", "0"],
    ]
    run("quota", "remove", "--yes", "--agent", agent, "--per", "hour")
    run("quota", "remove", "--yes", "--organization", organization_id, "--per", "month")
    assert len(json.loads(run("quota", "list", "--organization", organization_id, "--json"))) == 1


def test_a_token_beyond_a_quota_is_refused_with_the_reason(run: Command, agent: str) -> None:
    run("quota", "set", "--agent", agent, "--per", "day", "--tokens", "1", "--enforce")
    assert run("token", "--agent", agent)
    assert "the agent's quota of 1 tokens per day has been used" in run.refused("token", "--agent", agent)
    # Raising it works at once.
    run("quota", "set", "--agent", agent, "--per", "day", "--tokens", "2", "--enforce")
    assert run("token", "--agent", agent)


def test_says_what_is_wrong(run: Command, organization_id: str, agent: str) -> None:
    assert "there is no such agent or quota" in run.refused(
        "quota", "remove", "--yes", "--agent", agent, "--per", "day"
    )
    result = run.invoke("quota", "list")
    assert (result.exit_code, "name an --agent or an --organization" in result.stderr) == (2, True)
    assert "there is no organization 'x'" in run.refused("quota", "list", "--organization", "x")
    nobody = ("--agent", str(uuid.uuid4()), "--organization", organization_id)
    assert "no such agent" in run.refused("quota", "set", *nobody, "--per", "day", "--tokens", "1")
    for window, tokens in (("week", "1"), ("day", "0"), ("day", str(MAX_TOKENS + 1))):
        result = run.invoke("quota", "set", "--agent", agent, "--per", window, "--tokens", tokens)
        assert result.exit_code == 2
    assert set(WINDOWS) == {"hour", "day", "month"}


@pytest.mark.usefixtures("midnight_is_far")
@pytest.mark.parametrize("window", ["day", "month"])
@pytest.mark.parametrize("of_organization", [False, True])
def test_asks_before_it_refuses_every_token(
    run: Command, organization_id: str, agent: str, window: str, of_organization: bool
) -> None:
    whose = ("--organization", organization_id) if of_organization else ("--agent", agent)
    for _ in range(3):
        run("token", "--agent", agent)
    setting = ("quota", "set", *whose, "--per", window)
    run(*setting, "--tokens", "4", "--enforce")
    run(*setting, "--tokens", "3", "--observe")
    refused = run.invoke(*setting, "--tokens", "3", "--enforce")
    assert refused.exit_code == 1
    assert re.match(
        rf"3 tokens of the {window} were issued already, and this quota allows 3: every token is refused from now "
        r"until 20\d\d-\d\d-\d\dT00:00:00Z, about [0-9,]+ if as many are asked for as until now\.\n"
        r"Error: nothing was changed: there is no terminal to ask on, so give --yes\n",
        refused.stderr,
    )
    [quota] = json.loads(run("quota", "list", *whose, "--json"))
    assert (quota["tokens"], quota["enforce"]) == (3, False)
    run(*setting, "--tokens", "3", "--enforce", "--yes")
    assert "has been used" in run.refused("token", "--agent", agent)
