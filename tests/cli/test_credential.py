"""``agentidp credential``."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from agentidp import create_app
from agentidp.config import Settings
from agentidp.oauth.issuance import JWT_BEARER
from agentidp.registry.credentials import MAX_LABEL
from tests.cli.command import UUID, Command
from tests.federation.issuer import NOW, Issuer


def test_create_prints_the_secret_with_which_a_token_is_got(run: Command) -> None:
    agent_id = run.agent()
    credential_id, client_id, client_secret = run("credential", "create", "--agent", agent_id).split("\t")
    assert re.fullmatch(UUID, credential_id)
    assert client_id == agent_id
    app = create_app(Settings.from_environment(run.environment))
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    try:
        assert app.test_client().post("/api/v1/token", data=form).status_code == 200
        assert run("credential", "revoke", "--yes", credential_id, "--agent", agent_id) == ""
        assert app.test_client().post("/api/v1/token", data=form).status_code == 401
    finally:
        app.extensions["agentidp"].close()
    assert run.refused("credential", "revoke", "--yes", credential_id, "--agent", agent_id) == (
        f"the agent has no credential {credential_id}"
    )


def test_as_json_and_with_an_expiry(run: Command) -> None:
    agent_id = run.agent()
    made = json.loads(run("credential", "create", "--agent", agent_id, "--expires-in", "30", "--json"))
    assert set(made) == {
        "credentialId",
        "clientId",
        "clientSecret",
        "type",
        "label",
        "jwks",
        "createdAt",
        "expiresAt",
        "lastUsedAt",
    }
    left = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


def test_of_an_agent_that_is_not_there(shared_run: Command) -> None:
    agent_id = str(uuid.uuid4())
    for arguments in (("create",), ("list",), ("revoke", str(uuid.uuid4()))):
        assert shared_run.refused("credential", *arguments, "--agent", agent_id) == f"there is no agent {agent_id}"


def test_list_shows_labels_and_kinds_and_never_a_secret(run: Command) -> None:
    agent_id = run.agent()
    assert run("credential", "list", "--agent", agent_id) == ""
    made = json.loads(run("credential", "create", "--agent", agent_id, "--label", "CI of the shop", "--json"))
    assert made["label"] == "CI of the shop"
    run("credential", "create", "--agent", agent_id, "--expires-in", "30")
    with psycopg.connect(run.database_url) as connection:
        connection.execute(
            "insert into credentials (organization_id, agent_id, credential_id, jwks, created_at) "
            """select organization_id, agent_id, gen_random_uuid(), '[{"kty": "EC"}]', now() from agents"""
        )
    listed = json.loads(run("credential", "list", "--agent", agent_id, "--json"))
    assert listed[0] == {name: value for name, value in made.items() if name not in ("clientId", "clientSecret")}
    assert [one["label"] for one in listed] == ["CI of the shop", None, None]
    lines = [line.split("\t") for line in run("credential", "list", "--agent", agent_id).splitlines()]
    assert [line[0] for line in lines] == [one["credentialId"] for one in listed]
    assert [line[1:3] for line in lines] == [["CI of the shop", "secret"], ["-", "secret"], ["-", "key"]]
    assert [line[4] == "-" for line in lines] == [True, False, True]
    run("credential", "revoke", "--yes", lines[1][0], "--agent", agent_id)
    assert [one["credentialId"] for one in json.loads(run("credential", "list", "--agent", agent_id, "--json"))] == [
        lines[0][0],
        lines[2][0],
    ]


def test_a_label_that_is_no_good(run: Command) -> None:
    create = ("credential", "create", "--agent", run.agent(), "--label")
    assert run.refused(*create, "") == f"label must have 1 to {MAX_LABEL} characters"
    assert run.refused(*create, "x" * (MAX_LABEL + 1)) == f"label must have 1 to {MAX_LABEL} characters"
    assert run.refused(*create, "a\tb") == "label must not hold control characters or lone surrogates"
    assert run(*create, "x" * MAX_LABEL)


class TestTrust:
    """``credential trust`` and ``credential test``."""

    def test_a_rule_by_whose_token_the_agent_gets_one(self, run: Command, tmp_path: Path) -> None:
        issuer, agent_id = Issuer.with_curve(), run.agent()
        keys = tmp_path / "keys.json"
        bundle = [issuer.jwk(use="x509-svid", alg=None), issuer.jwk(use="jwt-svid", alg=None)]
        keys.write_text(json.dumps({"keys": bundle, "spiffe_sequence": 1}))
        arguments = ("--agent", agent_id, "--issuer", issuer.url, "--subject", "job:7", "--jwks", str(keys))
        claims = ("--claim", "ref=a", "--claim", "ref=b", "--claim", "team=x=y", "--claim", "protected:=true")
        printed = run("credential", "trust", *arguments, *claims, "--label", "CI").split("\t")
        settings = Settings.from_environment(run.environment)
        assert re.fullmatch(UUID, printed[0])
        rule = [issuer.url, "job:7", '{"ref": ["a", "b"], "team": "x=y", "protected": true}', settings.issuer]
        assert printed[1:] == rule
        app = create_app(settings)
        now = int(datetime.now(UTC).timestamp())
        token = issuer.token(settings.issuer, now, sub="job:7", ref="b", team="x=y", protected=True)
        form = {"grant_type": JWT_BEARER, "client_id": agent_id, "assertion": token}
        try:
            assert app.test_client().post("/api/v1/token", data=form).status_code == 200
        finally:
            app.extensions["agentidp"].close()
        [listed] = json.loads(run("credential", "list", "--agent", agent_id, "--json"))
        assert (listed["type"], listed["jwks"]) == ("federated", {"keys": [issuer.jwk()]})

    def test_warns_and_refuses(self, run: Command) -> None:
        agent_id = run.agent()
        github = ("--agent", agent_id, "--issuer", "https://token.actions.githubusercontent.com")
        assert run.refused("credential", "trust", *github, "--subject", "repo:*") == (
            "subject must name somebody before its *: anyone could meet it"
        )
        assert run.refused("credential", "trust", *github) == (
            "subject must be there, or claims: otherwise every token of the issuer would be trusted"
        )
        for claim, rule in (
            ("ref", "must be name=value, or name:=true, false or a whole number, not ref"),
            ("ref:=main", "ref:= must be followed by true, false or a whole number"),
        ):
            refused = run.invoke("credential", "trust", *github, "--claim", claim)
            assert (refused.exit_code, refused.stderr.splitlines()[-1]) == (
                2,
                f"Error: Invalid value for --claim: {rule}",
            )
        no_keys = run.invoke("credential", "trust", *github, "--subject", "x", "--jwks", "-", input="[]")
        assert (no_keys.exit_code, no_keys.stderr.splitlines()[-1]) == (
            2,
            "Error: Invalid value for --jwks: must be a JWK Set",
        )
        made = run.invoke("credential", "trust", *github, "--subject", "repo:acme/app:*", "--json")
        warnings = json.loads(made.stdout)["warnings"]
        assert len(warnings) == 2
        assert made.stderr == "".join(f"Warning: {warning}\n" for warning in warnings)

    def test_says_which_rule_accepts_a_token_and_why_the_others_do_not(self, run: Command, tmp_path: Path) -> None:
        issuer, agent_id = Issuer.with_curve(), run.agent()
        us = Settings.from_environment(run.environment).issuer
        keys, token = tmp_path / "keys.json", tmp_path / "token"
        keys.write_text(json.dumps(issuer.jwks()))
        rule = ("--agent", agent_id, "--issuer", issuer.url, "--jwks", str(keys))
        first = run("credential", "trust", *rule, "--subject", "job:7", "--claim", "ref=main").split("\t")[0]
        second = run("credential", "trust", *rule, "--subject", "job:8").split("\t")[0]
        token.write_text(issuer.token(us, NOW, sub="job:8", ref="next") + "\n")
        at = ("--at", "2026-04-15T12:00:00Z")
        lines = run("credential", "test", "--token", str(token), "--agent", agent_id, *at).splitlines()
        times = json.dumps({"nbf": NOW, "iat": NOW, "exp": NOW + 3600})
        assert [line.split("\t")[:6] for line in lines] == [
            [second, agent_id, "issuer", "met", issuer.url, issuer.url],
            [second, agent_id, "audience", "met", us, us],
            [second, agent_id, "subject", "met", "job:8", "job:8"],
            [second, agent_id, "times", "met", "2026-04-15T12:00:00+00:00", times],
            [second, agent_id, "signature", "met", "by a key of the issuer", "right"],
            [first, agent_id, "issuer", "met", issuer.url, issuer.url],
            [first, agent_id, "audience", "met", us, us],
            [first, agent_id, "subject", "not met", "job:7", "job:8"],
            [first, agent_id, "ref", "not met", "main", "next"],
            [first, agent_id, "times", "met", "2026-04-15T12:00:00+00:00", times],
        ]
        # Now it has expired, and somebody else's signature is none.
        refused = run.invoke("credential", "test", "--token", str(token), "--agent", agent_id, "--json")
        assert refused.exit_code == 1
        best = json.loads(refused.stdout)[0]
        assert (best["credentialId"], best["accepted"]) == (second, False)
        assert [one["name"] for one in best["comparisons"] if not one["met"]] == ["times"]
        token.write_text(Issuer.with_curve().token(us, NOW, sub="job:8"))
        forged = run.invoke("credential", "test", "--token", str(token), "--agent", agent_id, *at)
        assert forged.exit_code == 1
        assert forged.stdout.splitlines()[4].split("\t")[3:6] == [
            "not met",
            "by a key of the issuer",
            "wrong signature",
        ]

    def test_what_is_no_token_is_said(self, run: Command, tmp_path: Path) -> None:
        agent_id, token = run.agent(), tmp_path / "token"
        token.write_text("x")
        arguments = ("credential", "test", "--token", str(token))
        assert "must be a JWT" in run.refused(*arguments, "--agent", agent_id)
        us = Settings.from_environment(run.environment).issuer
        token.write_text(Issuer.with_curve(us).token(us))
        assert "a token of this server" in run.refused(*arguments, "--agent", agent_id)
