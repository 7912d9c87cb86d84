"""``agentidp provisioning-rule``, and the switch of an organization."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentidp.clock import utc_now
from tests.cli.command import Command
from tests.federation.issuer import Issuer

CREATE = (
    *("provisioning-rule", "create", "shop", "--issuer", "https://issuer.example"),
    *("--subject", "system:serviceaccount:shop:*", "--agent-name", "ci {sub}", "--owner", "team", "--quota", "day=5"),
    *("--scope", "analytics:read", "--expires-after", "7", "--max-agents", "3", "--organization"),
)


def test_creates_lists_and_deletes_a_rule(run: Command) -> None:
    acme = run("organization", "create", "Acme")
    made = run.invoke(*CREATE, acme, "--json")
    assert made.stderr == ("Warning: subject ends in *, so everything below system:serviceaccount:shop: is trusted\n")
    rule = json.loads(made.stdout)
    audience = rule["trust"]["audience"]
    assert audience.endswith(f"/{acme}")
    assert rule == {
        "provisioningRuleId": rule["provisioningRuleId"],
        "name": "shop",
        "trust": {
            "issuer": "https://issuer.example",
            "subject": "system:serviceaccount:shop:*",
            "audience": audience,
        },
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
    assert run("provisioning-rule", "list", "--organization", acme).split("\t") == listed
    assert json.loads(run("provisioning-rule", "list", "--organization", acme, "--json")) == [rule]
    assert run.invoke(*CREATE, acme).exit_code == 1
    asked = run.invoke("provisioning-rule", "delete", "shop", "--organization", acme)
    assert asked.exit_code == 1
    run("provisioning-rule", "delete", "shop", "--organization", acme, "--yes")
    assert run("provisioning-rule", "list", "--organization", acme) == ""


@pytest.mark.parametrize("quota", ["day", "day=", "year=5", "day=-5", "day=٣", "day=" + "9" * 5000])
def test_refuses_a_quota_that_is_none(run: Command, quota: str) -> None:
    acme = run("organization", "create", "Acme")
    refused = run.invoke(*CREATE, acme, "--quota", quota)
    assert refused.exit_code == 2
    assert "must be WINDOW=TOKENS, and the window one of hour, day, month" in refused.stderr


def test_the_switch_of_an_organization(run: Command) -> None:
    acme = run("organization", "create", "Acme")
    assert run.invoke(*CREATE, acme).exit_code == 0
    switch = ("organization", "provisioning", acme)
    assert run(*switch) == "off"
    assert run.invoke(*switch, "on").exit_code == 1
    assert run(*switch, "on", "--yes") == "on"
    assert run(*switch) == "on"
    assert run(*switch, "off") == "off"


def test_credential_test_says_what_a_provisioning_rule_would_do(run: Command, tmp_path: Path) -> None:
    acme = run("organization", "create", "Acme")
    issuer = Issuer.with_curve()
    (tmp_path / "jwks").write_text(json.dumps(issuer.jwks()))
    rule = json.loads(run.invoke(*CREATE, acme, "--jwks", str(tmp_path / "jwks"), "--json").stdout)
    file = tmp_path / "token"
    file.write_text(issuer.token(rule["trust"]["audience"], now=int(utc_now().timestamp())))
    test = ("credential", "test", "--token", str(file), "--organization", acme)
    refused = run.invoke(*test, "--json")
    assert refused.exit_code == 1
    [result] = json.loads(refused.stdout)
    assert (result["provisioningRule"], result["agentId"], result["credentialId"]) == ("shop", None, None)
    assert [one["name"] for one in result["comparisons"] if not one["met"]] == ["provisioning"]
    run("organization", "provisioning", acme, "on", "--yes")
    accepted = run.invoke(*test)
    assert accepted.exit_code == 0
    assert "-\t-\tname of the agent\tmet\tci {sub}\tci system:serviceaccount:shop:builder\tshop\n" in accepted.stdout
    file.write_text(issuer.token(rule["trust"]["audience"], sub="system:serviceaccount:shop:default"))
    [result] = json.loads(run.invoke(*test, "--json").stdout)
    not_met = {one["name"]: one["found"] for one in result["comparisons"] if not one["met"]}
    assert "must not be the default service account" in not_met["rule of the agent"]
