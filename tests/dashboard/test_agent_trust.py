"""Rules of trust on the dashboard."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from flask.testing import FlaskClient

from agentidp.oauth.issuance import JWT_BEARER
from agentidp.oauth.rule_results import MAX_DEPTH
from agentidp.services import Services
from tests.dashboard.conftest import Page, post
from tests.factories import Agent
from tests.federation.issuer import Issuer, trust

GITHUB = "https://token.actions.githubusercontent.com"


def path_of(agent: Agent) -> str:
    """The address of the form."""
    return f"/dashboard/agents/{agent.agent_id}/trust"


def rules(agent: Agent) -> list[dict[str, object]]:
    """The agent's rules as they are stored."""
    database = agent.database
    rows = database.fetch("agents/list_credentials", agent_id=agent.agent_id)
    return [row.trust for row in rows if row.trust]


def test_makes_a_rule_and_shows_its_warnings(signed_in: FlaskClient, worker: Agent) -> None:
    path = path_of(worker)
    claims = "repository_id=7\r\nref=refs/heads/main\r\nref=refs/heads/next\r\n"
    form = {"issuer": GITHUB, "claims": claims, "label": "CI"}
    rule_page = post(signed_in, path, **form)
    assert rule_page.status_code == 200
    assert "There is no subject, so whoever has a token of the issuer with these claims is trusted." in rule_page.text
    # Its audience does not say which organization is meant.
    assert f"-d client_id={worker.client_id}" in rule_page.text
    us = worker.services.settings.issuer
    expected = {
        "issuer": GITHUB,
        "claims": {"repository_id": "7", "ref": ["refs/heads/main", "refs/heads/next"]},
        "audience": us,
    }
    assert rules(worker) == [expected]


def test_a_preset_asks_shows_the_rule_and_fills_its_fields(signed_in: FlaskClient, worker: Agent) -> None:
    path = path_of(worker)
    first = Page(signed_in.get(path))
    presets = [link for link in first.links if "?preset=" in link]
    assert presets == [f"{path}?preset={name}" for name in ("kubernetes", "github", "gitlab", "spiffe", "other")]
    assert [*first.typed] == ["search", "preset", "issuer", "namespace", "serviceAccount"]
    answers = {"preset": "github", "repository": "acme/*/x", "branch": "<b>", "environment": "", "id": ""}
    refused = signed_in.get(path, query_string=answers | {"show": ""})
    wrong = Page(refused)
    assert (refused.status_code, wrong.notice.count("The repository must be owner/name")) == (400, 1)
    assert "ID (optional)" in wrong.text
    assert wrong.typed == {"search": ""} | answers
    answers |= {"repository": "acme/web", "branch": "main"}
    page = Page(signed_in.get(path, query_string=answers | {"show": "rule"}))
    assert "Names of owners and repositories can be taken over" in page.text
    assert f"{path}?{urlencode(answers)}" in page.links
    assert rules(worker) == []
    us = f"{worker.services.settings.issuer}/{worker.organization_id}"
    rule = {"issuer": GITHUB, "subject": "repo:acme/web:ref:refs/heads/main", "audience": us}
    assert {name: page.typed[name] for name in rule} == rule
    # It is sent to the address with the answers, also if one of its fields is wrong at first.
    [address] = [str(form["action"]) for form in page.all("form") if "show=rule" in str(form["action"])]
    wrong = Page(post(signed_in, address, **(rule | {"subject": "repo:*", "claims": "repository_id=7"})))
    assert "The subject must name its owner before the *" in wrong.notice
    assert (wrong.typed["subject"], wrong.typed["claims"]) == ("repo:*", "repository_id=7")
    rule_page = post(signed_in, address, **rule, claims="repository_id=7")
    assert (rule_page.status_code, "client_id" in rule_page.text) == (200, False)
    assert rules(worker) == [rule | {"claims": {"repository_id": "7"}}]


def test_there_is_no_such_preset(signed_in: FlaskClient, worker: Agent) -> None:
    refused = signed_in.get(path_of(worker), query_string={"preset": "none"})
    assert (refused.status_code, "must be one of kubernetes, github, gitlab" in Page(refused).text) == (400, True)


def test_takes_inline_keys_and_claims_that_are_no_strings(
    client: FlaskClient, signed_in: FlaskClient, worker: Agent, services: Services
) -> None:
    """A SPIFFE server publishes keys of JWTs and keys of certificates in one document."""
    issuer, path = Issuer.with_curve(), path_of(worker)
    bundle = {
        "keys": [issuer.jwk(use="jwt-svid", alg=None), issuer.jwk(use="x509-svid", kid=None)],
        "spiffe_sequence": 1,
    }
    claims = "protected:=true\nattempt:=1\nattempt:=2\nref=true\n/job/id:=7"
    form = {"issuer": issuer.url, "claims": claims, "jwks": json.dumps(bundle, indent=2)}
    rule_page = post(signed_in, path, **form)
    assert rule_page.status_code == 200, rule_page.text
    [rule] = rules(worker)
    assert rule["claims"] == {"protected": True, "attempt": [1, 2], "ref": "true", "/job/id": 7}
    now = int(services.clock().timestamp())
    form = {"grant_type": JWT_BEARER, "client_id": worker.client_id}
    right = {"protected": True, "attempt": 2, "ref": "true", "job": {"id": 7}}
    for wrong, status in (({}, 200), ({"protected": "true"}, 400), ({"attempt": "2"}, 400), ({"ref": True}, 400)):
        token = issuer.token(services.settings.issuer, now, **(right | wrong))
        assert client.post("/api/v1/token", data=form | {"assertion": token}).status_code == status


def test_says_claim_by_claim_why_a_token_is_not_accepted(
    signed_in: FlaskClient, worker: Agent, services: Services
) -> None:
    issuer, path = Issuer.with_curve(), f"{path_of(worker)}/test"
    us, now = services.settings.issuer, int(services.clock().timestamp())
    assert "The agent has no rule." in post(signed_in, path, token=issuer.token(us, now)).text
    trust(worker, issuer=issuer.url, subject="job:7", claims={"ref": "main"}, jwks=issuer.jwks())
    right = post(signed_in, path, token=issuer.token(us, now, sub="job:7", ref="main"))
    assert "Accepted by <bdi>the rule " in right.text
    wrong = post(signed_in, path, token=issuer.token(us, now, sub="job:7", ref="<b>"))
    assert (right.status_code, wrong.status_code) == (200, 200)
    assert "Not accepted by <bdi>the rule " in wrong.text
    assert "&lt;b&gt;" in wrong.text
    # Python reads 900 lists within each other, and does not always write them.
    for depth, status in ((MAX_DEPTH - 1, 200), (MAX_DEPTH, 400), *((depth, 400) for depth in range(900, 940, 3))):
        groups: list[object] = []
        for _ in range(depth - 1):
            groups = [groups]
        assert post(signed_in, path, token=issuer.token(us, now, ref=groups)).status_code == status
    nothing = post(signed_in, path, token="x")
    assert nothing.status_code == 400
    assert "this is not a token that any rule could accept" in nothing.text
