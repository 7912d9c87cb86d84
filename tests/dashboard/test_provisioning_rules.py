"""The page of provisioning rules: what it shows and changes."""

from __future__ import annotations

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, led_to, post
from tests.federation.issuer import Issuer

PATH = "/dashboard/provisioning-rules"
FORM = {
    "name": "shop",
    "issuer": "https://issuer.example",
    "subject": "system:serviceaccount:shop:*",
    "agentName": "ci {sub}",
    "owner": "team",
    "scopes": "analytics:read",
    "day": "5",
    "expiresAfterDays": "7",
    "maxAgents": "3",
}


def test_switches_creates_lists_and_deletes(signed_in: FlaskClient, cast: Cast) -> None:
    assert PATH in Page(signed_in.get("/dashboard/quotas")).links
    assert "Automatic registration is off" in Page(signed_in.get(PATH)).text
    assert led_to(post(signed_in, f"{PATH}/switch", state="on")) == PATH
    assert "Automatic registration is on" in Page(signed_in.get(PATH)).text
    assert led_to(post(signed_in, f"{PATH}/new", **FORM)) == PATH
    database = cast.acme.database
    [row] = database.fetch("provisioning/list_rules")
    assert row.agent_template == {
        "name": "ci {sub}",
        "owner": "team",
        "scopes": ["analytics:read"],
        "quotas": {"day": {"tokens": 5, "enforce": True}},
        "expiresAfterDays": 7,
    }
    listed = [
        "shop",
        f"iss https://issuer.example sub system:serviceaccount:shop:* aud http://localhost:3000/{cast.acme.organization_id}",
        "0 of 3",
        "the name ci {sub}, the owner team, analytics:read, 5 tokens per day, expiry after 7 unused days",
        "Delete",
    ]
    assert Page(signed_in.get(PATH)).table("Registration rules") == [listed]
    deletion_path = f"{PATH}/{row.provisioning_rule_id}/delete"
    assert "It has created none." in Page(signed_in.get(deletion_path)).text
    assert post(signed_in, deletion_path).status_code == 303
    assert database.fetch("provisioning/list_rules") == []


def test_a_preset_shows_the_rule_and_proposes_a_name_of_agents(signed_in: FlaskClient, cast: Cast) -> None:
    # Whose repositories they are must be said by an ID, here too.
    github = {"preset": "github", "repository": "acme/*", "show": "rule"}
    wide = signed_in.get(f"{PATH}/new", query_string=github)
    assert (wide.status_code, "The claims must have one of repository_id" in Page(wide).notice) == (400, True)
    assert "ID (optional)" not in Page(wide).text
    shown = Page(signed_in.get(f"{PATH}/new", query_string=github | {"id": "7"}))
    assert shown.typed["claims"] == "repository_owner_id=7"
    assert shown.typed["agentName"] == "{repository} {ref}"
    assert led_to(post(signed_in, f"{PATH}/new", **(shown.typed | {"name": "ours"}))) == PATH
    [row] = cast.acme.database.fetch("provisioning/list_rules")
    assert row.trust == {
        "issuer": "https://token.actions.githubusercontent.com",
        "subject": "repo:acme/*",
        "claims": {"repository_owner_id": "7"},
        "audience": f"http://localhost:3000/{cast.acme.organization_id}",
    }
    assert (row.agent_template["name"], row.agent_template["scopes"]) == ("{repository} {ref}", [])


def test_tests_a_token_of_hostile_claims(signed_in: FlaskClient, cast: Cast, services: Services) -> None:
    issuer = Issuer.with_curve()
    assert post(signed_in, f"{PATH}/new", **FORM, jwks=str(issuer.jwks()).replace("'", '"')).status_code == 303
    assert Page(signed_in.get(f"{PATH}/test")).text
    hostile = "system:serviceaccount:shop:<script>alert(1)</script>"
    token = issuer.token(f"http://localhost:3000/{cast.acme.organization_id}", sub=hostile)
    shown = post(signed_in, f"{PATH}/test", token=token)
    assert shown.status_code == 200
    assert "Not accepted by the provisioning rule shop" in Page(shown).text
    assert "<script>alert" not in shown.text
    assert post(signed_in, f"{PATH}/test", token="x").status_code == 400


def test_an_agents_page_says_for_whom_it_was_created(signed_in: FlaskClient, cast: Cast) -> None:
    issuer = Issuer.with_curve()
    post(signed_in, f"{PATH}/switch", state="on")
    post(signed_in, f"{PATH}/new", **FORM, jwks=str(issuer.jwks()).replace("'", '"'))
    subject = "system:serviceaccount:shop:<b>builder"
    token = issuer.token(f"http://localhost:3000/{cast.acme.organization_id}", sub=subject)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": token}
    assert signed_in.post("/api/v1/token", data=form).status_code == 200
    rows = cast.acme.database.fetch(
        "agents/list_agents", after_at=None, after_id=None, name=None, owner=None, limit=None
    )
    [agent] = [row for row in rows if row.provisioned]
    page = signed_in.get(f"/dashboard/agents/{agent.agent_id}")
    assert (
        f"Created automatically by the rule shop for {subject} of {issuer.url} "
        "Expires 7 days after its last token request" in Page(page).words
    )
    assert "<b>builder" not in page.text
