"""Where an id is taken, a name is too, if only one thing has it."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import Command


@pytest.fixture
def acme(run: Command) -> str:
    """The id of the only organization with its name."""
    return run("organization", "create", "Acme")


def test_of_an_organization(run: Command, acme: str) -> None:
    run("organization", "rename", "Acme", "Acme Inc")
    assert run("organization", "budget", "Acme Inc", "1000") == "1000"
    run("organization", "suspend", "--yes", "Acme Inc")
    run("organization", "resume", "Acme Inc")
    assert "name: Acme Inc" in run("organization", "export", "Acme Inc", acme)
    assert run("audit", "list", "--organization", "Acme Inc") == run("audit", "list", "--organization", acme) != ""
    run("organization", "delete", "--yes", "Acme Inc")
    assert run.refused("organization", "budget", "Acme Inc") == "there is no organization 'Acme Inc'"
    # Its trail is still there, by its id.
    assert "organization.deleted" in run("audit", "list", "--organization", acme)


def test_several_organizations_are_listed(run: Command, acme: str) -> None:
    other = run("organization", "create", "Acme")
    refused = run.invoke("agent", "list", "--organization", "Acme")
    assert (refused.exit_code, refused.stderr.splitlines()) == (
        1,
        [
            "Error: 2 organizations have the name 'Acme', so give an id:",
            f"  {acme}  Acme",
            f"  {other}  Acme",
        ],
    )
    assert run("agent", "list", "--organization", acme) == ""


def test_a_similar_name_is_suggested(run: Command, acme: str) -> None:
    run("agent", "create", "invoice-reader", "--organization", "Acme")
    assert run.refused("agent", "list", "--organization", "acme") == (
        "there is no organization 'acme': did you mean 'Acme'?"
    )
    assert run.refused("agent", "show", "invoice_reader") == (
        "there is no agent 'invoice_reader': did you mean 'invoice-reader'?"
    )
    for unlike in ("x", "\udcff", "a\x00"):
        assert run.refused("agent", "show", unlike) == f"there is no agent {unlike!r}"


def test_of_an_agent(run: Command, acme: str) -> None:
    agent = run("agent", "create", "reader", "--organization", "Acme")
    assert json.loads(run("agent", "show", "reader", "--json"))["agentId"] == agent
    run("agent", "update", "reader", "--owner", "me")
    run("agent", "suspend", "--yes", "reader")
    run("agent", "resume", "reader")
    run("credential", "create", "--agent", "reader", "--label", "on host 1")
    assert run("token", "--agent", "reader")
    assert run("dashboard", "--agent", "reader")
    run("marker", "create", "deployment", "--organization", "Acme", "--agent", "reader")
    assert json.loads(run("marker", "list", "--organization", "Acme", "--json"))[0]["agentId"] == agent
    assert run("findings", "list", "--organization", "Acme", "--agent", "reader") == ""
    run("credential", "revoke", "--yes", "on host 1", "--agent", "reader")
    assert run("credential", "list", "--agent", "reader") == ""


def test_agents_of_different_organizations_are_listed(run: Command, acme: str) -> None:
    one = run("agent", "create", "reader", "--organization", acme)
    other = run("agent", "create", "reader", "--organization", run("organization", "create", "Other"))
    assert run.invoke("agent", "show", "reader").stderr.splitlines() == [
        "Error: 2 agents have the name 'reader', so give an id:",
        f"  {one}  reader of Acme",
        f"  {other}  reader of Other",
    ]
    # Of one organization the name is unique.
    run("marker", "create", "deployment", "--organization", "Other", "--agent", "reader")
    assert json.loads(run("marker", "list", "--organization", "Other", "--json"))[0]["agentId"] == other


def test_a_deleted_agent_is_erased_by_its_name_and_is_no_other_commands(run: Command, acme: str) -> None:
    deleted = run("agent", "create", "reader", "--organization", acme)
    run("agent", "delete", "--yes", "reader")
    present = run("agent", "create", "reader", "--organization", acme)
    assert json.loads(run("agent", "show", "reader", "--json"))["agentId"] == present
    run("agent", "erase", "--yes", "reader")
    assert run.refused("agent", "erase", "reader") == "there is no deleted agent 'reader'"
    assert run("agent", "list", "--organization", acme).split("\t")[1] == "reader"
    assert '"reader"' not in run("audit", "list", "--organization", acme, "--subject", deleted)


def test_of_what_an_organization_has(run: Command, acme: str) -> None:
    of = ("--organization", "Acme")
    server = run("resource-server", "create", "https://api.example", *of, "--name", "billing", "--scope", "read")
    for name in ("https://api.example", "billing", server):
        assert run("resource-server", "show", name, *of).split("\t")[0] == server
    run("resource-server", "update", "billing", *of, "--name", "payments")
    assert run.refused("resource-server", "show", "payment", *of) == (
        "the organization has no resource server 'payment': did you mean 'payments'?"
    )
    run("resource-server", "delete", "--yes", "https://api.example", *of)
    url = ("--url-file", "-")
    added = run.invoke(
        "alerts", "target", "add", "webhook", *of, "--name", "on-call", *url, input="https://x.example\n"
    )
    assert added.exit_code == 0
    assert run("alerts", "target", "show", "on-call", *of).split("\t")[1] == "on-call"
    run("alerts", "target", "update", "on-call", *of, "--disable")
    run("alerts", "target", "delete", "--yes", "on-call", *of)
    assert run("alerts", "target", "list", *of) == ""
