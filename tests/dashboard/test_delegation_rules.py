"""The page of delegation rules: what it shows and changes."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard import delegation_rules
from agentidp.registry.organization_rules import MAX_RULES
from tests.conftest import Cast
from tests.dashboard.conftest import Page, led_to, post
from tests.factories import IDS, NOON, count_delegation
from tests.federation.issuer import Issuer

PATH = "/dashboard/delegation-rules"
PEOPLE = {"preset": "people", "issuer": "https://login.example", "show": "rule"}


@pytest.fixture
def form(client: FlaskClient, cast: Cast) -> dict[str, str]:
    """A form that creates a rule for an existing agent and resource server."""
    IDS["resource_server_id"](client, cast.acme)
    cast.acme.colleague("desk <7>")
    # By a provisioning rule, whoever is given an agent may choose its name.
    cast.acme.colleague(cast.acme.client_id)
    resource = f"https://{cast.acme.client_id}.example {cast.acme.client_id}"
    agents = f"desk <7>\r\n{cast.acme.client_id}\r\n"
    return {
        "name": "staff",
        "issuer": "https://login.example",
        "agentIds": agents,
        "resources": resource,
        "grantDays": "30",
    }


def test_begins_with_people_and_shows_creates_lists_and_deletes_a_rule(
    signed_in: FlaskClient, cast: Cast, form: dict[str, str]
) -> None:
    assert "There is no delegation rule yet" in Page(signed_in.get(PATH)).text
    assert "Which people?" in signed_in.get(f"{PATH}/new", query_string={"issuer": ""}).text
    for wrong, sentence in (
        ({"claim": "support"}, "The claim must be name=value."),
        ({"issuer": "https://accounts.google.com"}, "The subject must be there, or claims: otherwise"),
    ):
        refused = signed_in.get(f"{PATH}/new", query_string=PEOPLE | wrong)
        assert (refused.status_code, sentence in Page(refused).notice) == (400, True)
    shown = Page(signed_in.get(f"{PATH}/new", query_string=PEOPLE | {"claim": "groups=support"}))
    assert "Audience (aud) the client_id of the agent that acts" in shown.words
    assert form["resources"] in [box["value"] for box in shown.all("input") if box.get("name") == "resources"]
    assert led_to(post(signed_in, f"{PATH}/new", **form, claims="groups=support")) == PATH
    [row] = cast.acme.database.fetch("delegation/list_rules")
    assert row.trust == {"issuer": "https://login.example", "claims": {"groups": "support"}}
    assert row.agents == ["desk <7>", "builder"]
    assert Page(signed_in.get(PATH)).table("Delegation rules") == [
        [
            "staff days of a grant: 30",
            "iss https://login.example groups support aud client_id of the acting agent",
            "desk <7>, builder",
            form["resources"],
            "not in 90 days",
            "Delete",
        ]
    ]
    resource = form["resources"].split()[0]
    for issuer, days in (("https://login.example", 2), ("https://other.example", 1)):
        count_delegation(cast.acme, issuer, NOON - timedelta(days=days), 1, resource)
    assert Page(signed_in.get(PATH)).table("Delegation rules")[0][4] == "Mon 13 Apr"
    listed = Page(signed_in.get(PATH))
    assert {f"/dashboard/agents/{agent_id}" for agent_id in row.agent_ids} <= {*listed.links}
    assert f"1 of at most {MAX_RULES} rules." in listed.text
    deletion_path = f"{PATH}/{row.delegation_rule_id}/delete"
    assert "2 agents can act by this rule" in Page(signed_in.get(deletion_path)).text
    assert post(signed_in, deletion_path).status_code == 303
    assert "There is no delegation rule yet" in Page(signed_in.get(PATH)).text


def test_offers_no_form_for_one_rule_too_many(
    signed_in: FlaskClient, form: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert led_to(post(signed_in, f"{PATH}/new", **form, claims="groups=support")) == PATH
    assert f"{PATH}/new" in Page(signed_in.get(PATH)).links
    monkeypatch.setattr(delegation_rules, "MAX_RULES", 1)
    page = Page(signed_in.get(PATH))
    assert f"{PATH}/new" not in page.links
    assert "Delete a rule before you create another one." in page.text


def test_says_claim_by_claim_whether_an_agent_can_act_by_a_token(
    signed_in: FlaskClient, cast: Cast, form: dict[str, str]
) -> None:
    issuer, test = Issuer.with_curve(), "/dashboard/provisioning-rules/test"
    rule = form | {"issuer": issuer.url, "claims": "groups=support", "jwks": json.dumps(issuer.jwks())}
    assert led_to(post(signed_in, f"{PATH}/new", **rule)) == PATH

    def shown(path: str, **claims: object) -> str:
        token = issuer.token(cast.acme.client_id, sub="ana", groups=["support"], **claims)
        return Page(post(signed_in, path, token=token)).words

    idle = cast.acme.colleague("idle")
    # The audience is that of the second agent.
    assert "Accepted by the delegation rule staff Not a credential" in shown(test)
    of_agent = f"/dashboard/agents/{cast.acme.client_id}/trust/test"
    assert "Accepted by the delegation rule staff" in shown(of_agent)
    assert "The agent has no rule." in shown(f"/dashboard/agents/{idle.agent_id}/trust/test")
    assert "The token is accepted by the delegation rule staff." in shown(test)
    refused = shown(test, act={"sub": "x"})
    assert "The token is not accepted by the delegation rule staff, because " in refused
    assert "Not accepted by the delegation rule staff" in refused
    assert "subject token has actors" in refused
