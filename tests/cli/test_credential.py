"""``agentidp credential``."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.config import Settings
from agentidp.oauth.issuance import JWT_BEARER
from tests.cli.command import UUID, Command, ask_for_token
from tests.factories import execute
from tests.federation.issuer import NOW, Issuer


def test_creates_and_lists_and_shows_a_secret_once(run: Command, agent: str, service: FlaskClient) -> None:
    of = ("--agent", "builder")
    assert run("credential", "list", *of) == ""
    credential = run.json("credential", "create", *of, "--label", "CI of the shop")
    assert (credential["label"], credential["clientId"], credential["expiresAt"]) == ("CI of the shop", agent, None)
    assert ask_for_token(service, agent, credential["clientSecret"]) == 200
    [[credential_id, client_id, secret]] = run.cells("credential", "create", *of, "--expires-in", "30")
    assert (client_id, ask_for_token(service, agent, secret)) == (agent, 200)
    execute(
        run.database_url,
        "insert into credentials (organization_id, agent_id, credential_id, jwks, created_at) "
        """select organization_id, agent_id, gen_random_uuid(), '[{"kty": "EC"}]', now() from agents""",
    )
    listed = run.json("credential", "list", *of)
    del credential["clientId"], credential["clientSecret"]
    assert listed[0] | {"lastUsedAt": None} == credential
    assert [listed_credential["label"] for listed_credential in listed] == ["CI of the shop", None, None]
    left = datetime.fromisoformat(listed[1]["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    lines = run.cells("credential", "list", *of)
    assert [line[:3] for line in lines] == [
        [credential["credentialId"], "CI of the shop", "secret"],
        [credential_id, "-", "secret"],
        [listed[2]["credentialId"], "-", "key"],
    ]
    assert [line[4] == "-" for line in lines] == [True, False, True]


def test_asks_what_would_break_before_it_revokes(run: Command, agent: str, service: FlaskClient) -> None:
    of = ("--agent", "builder")
    old, _, secret = run("credential", "create", *of, "--label", "old").split("\t")
    asked = run.asked("credential", "revoke", "old", *of)
    assert asked == (
        f"This revokes the credential {old} (old). A revocation cannot be undone.\n"
        "No token was counted in the last 90 days.\n"
        "The agent has no other credential, so it will get no further token.\n"
    )
    new = run("credential", "create", *of).split("\t")[0]
    assert run("credential", "revoke", new, *of, "--dry-run").startswith(f"This revokes the credential {new}. ")
    assert ask_for_token(service, agent, secret) == 200
    dry_run = run("credential", "revoke", old, *of, "--dry-run", "--end-tokens")
    assert "All tokens of the agent that were issued before now stop working at once." in dry_run
    assert run("credential", "revoke", "old", *of, "--yes", "--end-tokens") == ""
    assert run.json("agent", "show", "builder")["tokensNotBefore"] is not None
    assert ask_for_token(service, agent, secret) == 401
    assert run.refused("credential", "revoke", old, *of) == f"the agent has no credential {old}"
    assert [line[0] for line in run.cells("credential", "list", *of)] == [new]


def test_organization_selects_one_of_several_agents_with_a_name(run: Command, agent: str) -> None:
    run("organization", "create", "Second")
    second = run("agent", "create", "builder", "--organization", "Second").split("\t")[0]
    assert "2 agents have the name" in run.refused("credential", "list", "--agent", "builder")
    of = ("--agent", "builder", "--organization", "Second")
    credential_id, client_id, _ = run("credential", "create", *of).split("\t")
    assert client_id == second
    trusted = run("credential", "trust", *of, "--issuer", "https://ci.example", "--subject", "job:7").split("\t")[0]
    assert {line[0] for line in run.cells("credential", "list", *of)} >= {credential_id, trusted}
    run("credential", "revoke", credential_id, *of, "--yes")
    assert credential_id not in run("credential", "list", *of)
    assert run.refused("credential", "list", "--agent", agent, "--organization", "Second") != ""


class TestTrust:
    def test_a_rule_by_whose_token_the_agent_gets_one(
        self, run: Command, agent: str, service: FlaskClient, tmp_path: Path
    ) -> None:
        issuer, keys = Issuer.with_curve(), tmp_path / "keys.json"
        bundle = [issuer.jwk(use="x509-svid", alg=None), issuer.jwk(use="jwt-svid", alg=None)]
        keys.write_text(json.dumps({"keys": bundle, "spiffe_sequence": 1}))
        trust = ("credential", "trust", "--agent", "builder", "--issuer", issuer.url, "--jwks", str(keys))
        claims = ("--claim", "ref=a", "--claim", "ref=b", "--claim", "team=x=ü", "--claim", "protected:=true")
        printed = run(*trust, "--subject", "job:7", *claims, "--label", "CI").split("\t")
        us = Settings.from_environment(run.environment).issuer
        assert re.fullmatch(UUID, printed[0])
        rule = [issuer.url, "job:7", '{"ref": ["a", "b"], "team": "x=ü", "protected": true}', us]
        assert printed[1:] == rule
        now = int(datetime.now(UTC).timestamp())
        token = issuer.token(us, now, sub="job:7", ref="b", team="x=ü", protected=True)
        (tmp_path / "token").write_text(token)
        tested = run.invoke("credential", "test", "--agent", agent, "--token", str(tmp_path / "token"))
        assert (tested.exit_code, "must send client_id with this token" in tested.stderr) == (0, True)
        form = {"grant_type": JWT_BEARER, "client_id": agent, "assertion": token}
        assert service.post("/api/v1/token", data=form).status_code == 200
        [listed] = run.json("credential", "list", "--agent", "builder")
        assert (listed["type"], listed["label"], listed["jwks"]) == ("federated", "CI", {"keys": [issuer.jwk()]})
        result = run.invoke(*trust, "--subject", "repo:acme/app:*", "--json")
        warnings = json.loads(result.stdout)["warnings"]
        assert warnings
        assert result.stderr == "".join(f"Warning: {warning}\n" for warning in warnings)

    def test_says_which_rule_accepts_a_token_and_why_the_others_do_not(
        self, run: Command, acme: str, agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        issuer, server = Issuer.with_curve(), Settings.from_environment(run.environment).issuer
        us = f"{server}/{acme}"
        keys, file = tmp_path / "keys.json", tmp_path / "token"
        keys.write_text(json.dumps(issuer.jwks()))
        trust: tuple[str, ...] = ("credential", "trust", "--agent", agent, "--issuer", issuer.url, "--jwks", str(keys))
        trust += ("--audience", us)
        first = run(*trust, "--subject", "job:7", "--claim", "ref=main").split("\t")[0]
        second = run(*trust, "--subject", "job:8").split("\t")[0]
        test, at = ("credential", "test", "--token", str(file)), ("--at", "2026-04-15T12:00:00Z")

        def failed(token: str, *options: str) -> list[dict[str, Any]]:
            file.write_text(token)
            result = run.invoke(*test, "--agent", "builder", *options, "--json")
            assert result.exit_code == 1
            best: list[dict[str, Any]] = json.loads(result.stdout)[0]["comparisons"]
            return [comparison for comparison in best if not comparison["met"]]

        file.write_text(issuer.token(us, NOW, sub="job:8", ref="next") + "\n")
        times = "nbf 2026-04-15T12:00:00Z, iat 2026-04-15T12:00:00Z, exp 2026-04-15T13:00:00Z"
        both = [["issuer", "met", issuer.url, issuer.url], ["audience", "met", us, us]]
        for whose in (("--agent", "builder"), ("--organization", "Acme")):
            assert [line[:6] for line in run.cells(*test, *whose, *at)] == [
                *([second, agent, *line] for line in both),
                [second, agent, "subject", "met", "job:8", "job:8"],
                [second, agent, "times", "met", "2026-04-15T12:00:00Z", times],
                [second, agent, "signature", "met", "by a key of the issuer", "right"],
                *([first, agent, *line] for line in both),
                [first, agent, "subject", "not met", "job:7", "job:8"],
                [first, agent, "ref", "not met", "main", "next"],
                [first, agent, "times", "met", "2026-04-15T12:00:00Z", times],
            ]
        with monkeypatch.context() as patch:
            patch.setattr("agentidp.cli.credential.is_terminal", lambda: True)
            lines = run(*test, "--agent", "builder", *at).splitlines()
        assert lines[:2] == [
            f"Accepted by the rule {second} of the agent builder.",
            f"The rule {second} of the agent builder:",
        ]
        assert "  not met  subject: job:7, found job:8" in lines
        with monkeypatch.context() as patch:
            patch.setattr("agentidp.cli.credential.is_terminal", lambda: True)
            file.write_text(issuer.token(us, NOW, sub="job:\x1b[2J\u202e"))
            assert r"subject: job:7, found job:\u001b[2J\u202e" in run.invoke(*test, "--agent", "builder", *at).stdout
        # Now the token has expired, and a signature by another key is invalid.
        assert [comparison["name"] for comparison in failed(issuer.token(us, NOW, sub="job:8"))] == ["times"]
        [forged] = failed(Issuer.with_curve().token(us, NOW, sub="job:8"), *at)
        assert (forged["name"], forged["found"]) == ("signature", "wrong signature")
        [without] = failed(issuer.token(us, NOW, sub=None), *at)[:1]
        assert without["name"] == "subject"
        assert run.invoke(*test, "--agent", "builder", *at).stderr.startswith(
            f"No rule accepts the token. The best match is the rule {first} of the agent builder: "
            "the token meets 3 of 5 conditions."
        )
        run(*trust, "--subject", "job:9", "--claim", "repository_id=456789")
        different = failed(issuer.token(us, NOW, sub="job:9", repository_id=456789), *at)
        assert [(line["expected"], line["found"]) for line in different] == [("456789", 456789)]
        result = run.invoke(*test, "--agent", "builder", *at)
        assert ["repository_id", "not met", '"456789"', "456789"] in [
            line.split("\t")[2:6] for line in result.stdout.splitlines()
        ]
        file.write_text("x")
        assert "must be a JWT" in run.refused(*test, "--agent", agent)
        file.write_text(Issuer.with_curve(server).token(us))
        assert "a token of this server" in run.refused(*test, "--agent", agent)
