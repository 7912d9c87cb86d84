"""``agentidp delegation-rule``."""

from __future__ import annotations

from tests.cli.command import Command

API = "https://tickets.example"
OF = ("--organization", "Acme")
RULE = ("delegation-rule", "create", "staff", *OF, "--issuer", "https://login.example")


def test_creates_lists_and_deletes_a_rule(run: Command, acme: str) -> None:
    nobody = run.refused(*RULE, "--resource", f"{API} read")
    assert nobody == "agentIds must name at least one, unless the rule names hosts of apps"
    agents = {name: run("agent", "create", name, *OF) for name in ("desk", "chat")}
    run("resource-server", "create", API, *OF, "--name", "tickets", "--scope", "read", "--scope", "write")
    create = (*RULE, "--agent", "desk", "--agent", agents["chat"], "--resource", f"{API} read write")
    assert run.refused(*RULE, "--agent", "des", "--resource", f"{API} read").startswith("the organization has no agent")
    assert run.refused(*create, "--resource", "https://other.example") == "resources must name at least one scope"
    result = run.invoke(*create, "--json")
    warning = "there is neither subject nor claim, so everybody who can have a token of the issuer is trusted"
    assert result.stderr == f"Warning: {warning}\n"
    [rule] = run.json("delegation-rule", "list", *OF)
    assert rule["trust"] == {"issuer": "https://login.example"}
    assert rule["agentIds"] == [agents["desk"], agents["chat"]]
    assert rule["resources"] == [{"resource": API, "scopes": ["read", "write"]}]
    listed = [rule["delegationRuleId"], "staff", "https://login.example", "desk, chat", API, rule["createdAt"]]
    assert run.cells("delegation-rule", "list", *OF) == [listed]
    # Deleted agents are not listed.
    run("agent", "delete", "chat", "--yes")
    assert run.cells("delegation-rule", "list", *OF) == [[*listed[:3], "desk", *listed[4:]]]
    # A rule for apps needs no agent.
    apps = ("apps", *OF, "--issuer", "https://login.example", "--client-host", "app.example")
    run.invoke("delegation-rule", "create", *apps, "--resource", f"{API} read")
    assert run.cells("delegation-rule", "list", *OF)[1][3] == "apps of app.example"
    assert "0 agents and the apps of app.example." in run.asked("delegation-rule", "delete", "apps", *OF)
    run("delegation-rule", "delete", "apps", *OF, "--yes")
    delete = ("delegation-rule", "delete", "staff", *OF)
    assert run.asked(*delete) == (
        "This deletes the delegation rule staff of 1 agent. Introspection then reports the tokens that were issued "
        "under the rule as inactive.\n"
    )
    assert run(*delete, "--yes") == run("delegation-rule", "list", *OF) == ""
    assert run.refused(*delete) == "the organization has no delegation rule 'staff'"
