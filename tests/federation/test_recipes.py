"""The recipes of docs/workloads.md, each with a token as its platform makes it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from spiffe import JwtBundle, JwtSvid, TrustDomain

from agentidp.oauth import client_assertion
from agentidp.oauth.federated_token import SPIFFE_TYPE
from tests.conftest import Cast
from tests.factories import ROOT, Agent
from tests.federation.issuer import NOW, Issuer
from tests.oauth.clients import claims_of

GUIDE = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
US = "http://localhost:3000"


def rules_of(section: str, audience: str) -> list[dict[str, Any]]:
    """Return the rules in a section of the guide, in their order."""
    _, _, text = GUIDE.partition(f"\n## {section}\n")
    text = text.partition("\n## ")[0]
    return [
        json.loads(body.replace("ISSUER/ORGANIZATION", audience))
        for body in re.findall(r"```json\n(\{.*?\})\n```", text, re.DOTALL)
    ]


# The claims of each platform's tokens, without most claims that no rule compares.
KUBERNETES = {
    "aud": [US],
    "exp": NOW + 3607,
    "iat": NOW,
    "iss": "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF",
    "kubernetes.io": {
        "namespace": "shop",
        "serviceaccount": {"name": "builder", "uid": "8f4c9f5e-1f0f-4a57-9a54-0f3a9a3b7a11"},
    },
    "nbf": NOW,
    "sub": "system:serviceaccount:shop:builder",
}
GITHUB = {
    "sub": "repo:acme/web:ref:refs/heads/main",
    "aud": US,
    "ref": "refs/heads/main",
    "repository_id": "456789",
    "iss": "https://token.actions.githubusercontent.com",
    "nbf": NOW - 5,
    "exp": NOW + 300,
    "iat": NOW,
}
GITLAB = {
    "project_id": "20",
    "ref_protected": "true",
    "iat": NOW,
    "nbf": NOW - 5,
    "exp": NOW + 3600,
    "iss": "https://gitlab.example.com",
    "sub": "project_path:shop/web:ref_type:branch:ref:main",
    "aud": US,
}
SVID = {"aud": [US], "exp": NOW + 300, "iat": NOW, "sub": "spiffe://acme.example/ns/shop/sa/builder"}
HOUR = {"iat": NOW, "exp": NOW + 3600, "aud": US}
COMPANY = HOUR | {"iss": "https://login.example.com/tenant-7", "sub": "0oa1builder"}
OTHER_AGENTIDP = HOUR | {"iss": "https://idp.partner.example", "sub": "7f9c2f0e-3c44-4d0b-9d2b-1b8f0c3a5e21"}
RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # Per section: the token's claims, its header, and the claims that differ in the token of another workload.
    "Kubernetes": (KUBERNETES, {"typ": None}, {"sub": "system:serviceaccount:shop:default"}),
    "GitHub Actions": (GITHUB, {}, {"repository_id": "456780"}),
    "GitLab CI": (GITLAB, {}, {"project_id": "21"}),
    "SPIFFE": (SVID, {"typ": "JWT"}, {"sub": "spiffe://acme.example/ns/shop/sa/other"}),
    "An OpenID Connect provider": (COMPANY, {}, {"sub": "0oa1other"}),
    "Another AgentIdP": (OTHER_AGENTIDP, {"typ": "at+jwt"}, {"sub": "7f9c2f0e-3c44-4d0b-9d2b-1b8f0c3a5e22"}),
}


@pytest.fixture
def worker(cast: Cast) -> Agent:
    """An agent without a rule of trust."""
    return cast.acme.colleague("worker", ["analytics:read"])


@pytest.mark.parametrize("section", RECIPES)
def test_a_recipe_accepts_its_platforms_token_and_not_another_workloads(
    client: FlaskClient, cast: Cast, worker: Agent, section: str
) -> None:
    claims, header, others = RECIPES[section]
    audience = f"{US}/{worker.organization_id}"
    claims = claims | {"aud": [audience] if isinstance(claims["aud"], list) else audience}
    [rule] = rules_of(section, audience)
    issuer = Issuer.with_curve(rule["issuer"])
    # The keys are inline here, because the test cannot publish them at that address.
    rule = {name: value for name, value in rule.items() if name != "jwksUri"} | {"jwks": issuer.jwks()}
    path = f"/api/v1/agents/{worker.client_id}/credentials"
    made = client.post(path, json=rule, headers=cast.acme.bearer())
    assert made.status_code == 201, made.text
    assert made.json["warnings"] == []
    type_ = SPIFFE_TYPE if section == "SPIFFE" else client_assertion.TYPE
    form = {"grant_type": "client_credentials", "client_assertion_type": type_}
    accepted = client.post("/api/v1/token", data=form | {"client_assertion": issuer.sign(claims, header)})
    assert claims_of(accepted)["sub"] == worker.client_id
    refused = client.post("/api/v1/token", data=form | {"client_assertion": issuer.sign(claims | others, header)})
    assert refused.status_code == 401


def test_the_jwt_svid_is_one() -> None:
    issuer = Issuer.with_curve()
    svid = issuer.sign(SVID | {"exp": 2**33})
    bundle = JwtBundle.parse(TrustDomain("acme.example"), json.dumps({"keys": [issuer.jwk(use="jwt-svid")]}).encode())
    parsed = JwtSvid.parse_and_validate(svid, bundle, {US})
    assert str(parsed.spiffe_id) == SVID["sub"]
