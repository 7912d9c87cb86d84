"""``agentidp grant``."""

from __future__ import annotations

import uuid

from tests.cli.command import Command
from tests.factories import execute

OF = ("--organization", "Acme")
API = "https://tickets.example"


def test_lists_and_ends_grants(run: Command, acme: str) -> None:
    editor = run("agent", "create", "editor", *OF)
    run("resource-server", "create", API, *OF, "--name", "tickets", "--scope", "read")
    rule = ("--issuer", "https://login.example", "--agent", "editor", "--resource", f"{API} read")
    assert run.invoke("delegation-rule", "create", "staff", *OF, *rule).exit_code == 0
    rule_id = run.json("delegation-rule", "list", *OF)[0]["delegationRuleId"]

    def add() -> str:
        grant_id = str(uuid.uuid4())
        execute(
            run.database_url,
            "insert into grants (organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, "
            "subject_encrypted, resource, scopes, token_digest, days, created_at, last_used_at, expires_at) values "
            "(%s, %s, %s, %s, 'https://login.example', 'x', '', %s, '{read}', sha256(''), 30, now(), now(), "
            "'2999-01-01')",
            *(acme, grant_id, editor, rule_id, API),
        )
        return grant_id

    first, second, third = add(), add(), add()
    listed = run.json("grant", "list", *OF, "--agent", "editor", "--rule", "staff")
    assert [grant["grantId"] for grant in listed] == [third, second, first]
    assert run.cells("grant", "list", *OF)[0][:5] == [third, "editor", "staff", "x", API]
    assert run.misused("grant", "end", *OF) == "give the ID of a grant, or --agent, or --rule, but only one of these"
    message = "give the ID of a grant, or --agent, or --rule, but only one of these"
    assert run.misused("grant", "end", first, *OF, "--agent", "editor") == message
    assert run.asked("grant", "end", *OF, "--rule", "staff").startswith("This ends 3 grants of people.")
    assert run.asked("grant", "end", first, *OF).startswith("This ends 1 grant of people.")
    assert "3 grants of people give no more tokens." in run.asked("delegation-rule", "delete", "staff", *OF)
    assert "3 grants of people give no more tokens." in run.asked("agent", "delete", "editor")
    run("grant", "end", first, *OF, "--yes")
    assert run.refused("grant", "end", first, *OF, "--yes") == f"the organization has no grant {first}"
    assert [grant["grantId"] for grant in run.json("grant", "list", *OF)] == [third, second]
    run("grant", "end", *OF, "--agent", "editor", "--yes")
    assert run("grant", "list", *OF) == ""
    add()
    run("grant", "end", *OF, "--rule", "staff", "--yes")
    assert run("grant", "list", *OF) == ""
