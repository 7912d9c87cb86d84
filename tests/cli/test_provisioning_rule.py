"""``agentidp provisioning-rule``."""

from __future__ import annotations

import json
from pathlib import Path

from agentidp.clock import utc_now
from tests.cli.command import Command
from tests.federation.issuer import Issuer

CREATE = (
    *("provisioning-rule", "create", "shop", "--issuer", "https://issuer.example"),
    *("--subject", "system:serviceaccount:shop:*", "--agent-name", "ci {sub}", "--owner", "team", "--quota", "day=5"),
    *("--scope", "analytics:read", "--expires-after", "7", "--max-agents", "3", "--organization", "Acme"),
)


def test_creates_lists_and_deletes_a_rule(run: Command, acme: str) -> None:
    result = run.invoke(*CREATE, "--json")
    assert result.stderr == "Warning: subject ends in *, so everything below system:serviceaccount:shop: is trusted\n"
    rule = json.loads(result.stdout)
    audience = rule["trust"]["audience"]
    assert audience.endswith(f"/{acme}")
    assert rule == {
        "provisioningRuleId": rule["provisioningRuleId"],
        "name": "shop",
        "trust": {"issuer": "https://issuer.example", "subject": "system:serviceaccount:shop:*", "audience": audience},
        "agentTemplate": {
            "name": "ci {sub}",
            "owner": "team",
            "scopes": ["analytics:read"],
            "quotas": {"day": {"tokens": 5, "enforce": True}},
            "expiresAfterDays": 7,
        },
        "maxAgents": 3,
        "agents": 0,
        "createdAt": rule["createdAt"],
        "warnings": rule["warnings"],
    }
    listed = [rule["provisioningRuleId"], "shop", "https://issuer.example", audience, "0", "3", rule["createdAt"]]
    assert run.cells("provisioning-rule", "list", "--organization", "Acme") == [listed]
    assert run.json("provisioning-rule", "list", "--organization", "Acme") == [rule]
    assert run.refused(*CREATE) == "Another provisioning rule has this name. (name is taken)"
    delete = ("provisioning-rule", "delete", "shop", "--organization", "Acme")
    assert run.asked(*delete) == (
        "This deletes the provisioning rule shop. The rule creates no further agents. 0 agents of the rule will not be "
        "deleted.\n"
    )
    assert run(*delete, "--yes") == run("provisioning-rule", "list", "--organization", "Acme") == ""
    assert run.refused(*delete) == "the organization has no provisioning rule 'shop'"


def test_credential_test_says_what_a_provisioning_rule_would_do(run: Command, acme: str, tmp_path: Path) -> None:
    issuer, keys, token = Issuer.with_curve(), tmp_path / "jwks", tmp_path / "token"
    keys.write_text(json.dumps(issuer.jwks()))
    rule = json.loads(run.invoke(*CREATE, "--jwks", str(keys), "--json").stdout)
    token.write_text(issuer.token(rule["trust"]["audience"], now=int(utc_now().timestamp())))
    test = ("credential", "test", "--token", str(token), "--organization", "Acme")
    refused = run.invoke(*test, "--json")
    [result] = json.loads(refused.stdout)
    assert (
        refused.exit_code,
        [comparison["name"] for comparison in result["comparisons"] if not comparison["met"]],
    ) == (
        1,
        ["provisioning"],
    )
    assert (result["provisioningRule"], result["agentId"], result["credentialId"]) == ("shop", None, None)
    run("organization", "provisioning", acme, "on", "--yes")
    agent = ["-", "-", "name of the agent", "met", "ci {sub}", "ci system:serviceaccount:shop:builder", "shop"]
    assert agent in run.cells(*test)
    token.write_text(issuer.token(rule["trust"]["audience"], sub="system:serviceaccount:shop:default"))
    [result] = json.loads(run.invoke(*test, "--json").stdout)
    not_met = {comparison["name"]: comparison["found"] for comparison in result["comparisons"] if not comparison["met"]}
    assert "must not be the default service account" in not_met["rule of the agent"]
