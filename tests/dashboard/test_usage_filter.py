"""The filters of the overview and of the pages of usage: every figure and every file respects them."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from tests.conftest import Cast
from tests.dashboard.conftest import Page, Read, number
from tests.factories import NOON, Agent, Api, count_delegation

YESTERDAY = NOON - timedelta(days=1)
PAGES = ("", "/usage", "/credentials", "/usage/resources", "/usage/delegations")
FILES = ("days", "activity", "owners", "credentials", "resources", "delegations")


class Fleet:
    """Two agents of the owner Support and one of Sales, with tokens for two APIs, and imported tokens of each."""

    def __init__(self, client: FlaskClient, acme: Agent) -> None:
        self.client, self.acme, self.api = client, acme, Api(client, acme)
        self.resource = f"https://{acme.organization_id}.example"
        server = {"name": "The API", "resource": self.resource, "scopes": ["read"]}
        assert self.api.post("resource-servers", server).status_code == 201
        self.first, self.second, self.sales = (acme.colleague(name) for name in ("first", "second", "sales"))
        for agent, owner in ((self.first, "Support"), (self.second, "Support"), (self.sales, "Sales")):
            assert self.api.patch(f"agents/{agent.agent_id}", {"owner": owner}).status_code == 200
        for agent, tokens in ((self.first, 5), (self.second, 3), (self.sales, 2)):
            agent.count(YESTERDAY, tokens=tokens, requests=4, rejected=tokens)
            agent.count(YESTERDAY - timedelta(days=7), tokens=1)
        path = f"agents/{self.first.agent_id}"
        assert self.api.patch(path, {"scopes": ["read", "analytics:read"]}).status_code == 200
        # Unlike count(), the endpoint counts the tokens for a credential that stays.
        self.first.get_tokens(client, 7, resource=self.resource)
        count_delegation(self.first, self.sales, YESTERDAY, 2, self.resource)
        count_delegation(self.sales, self.second, YESTERDAY, 1, self.resource)

    def credential_of_resource(self) -> str:
        """Return the credential that got the tokens for the API."""
        items = self.api.get("analytics/credentials?days=7").json["data"]
        [item] = [item for item in items if item["tokens"] == 7]
        return str(item["credentialId"])

    def agents(self, *agents: Agent) -> list[tuple[int, int, int]]:
        """Return tokens, requests and rejected requests per day, as the API has them, over some agents."""
        by_agent = [self.api.get(f"analytics/agents/{agent.agent_id}?days=7").json["data"] for agent in agents]
        return [
            (sum(day["tokens"] for day in days), sum(day["requests"] for day in days), sum(d["rejected"] for d in days))
            for days in zip(*by_agent, strict=True)
        ]

    def file(self, name: str, query: str) -> list[list[str]]:
        """Return the rows of a file, without its header row."""
        response = self.client.get(f"/dashboard/{name}.csv?days=7&{query}")
        assert response.status_code == 200, response.text
        return list(csv.reader(io.StringIO(response.text)))[1:]


@pytest.fixture
def fleet(signed_in: FlaskClient, acme: Agent) -> Fleet:
    return Fleet(signed_in, acme)


def figures(page: Page) -> dict[str, str]:
    """Return the figures of the headline by label."""
    words = page.text.partition("Compare with:")[0]
    lines = [line.strip() for line in words.splitlines() if " in 7 days" in line]
    return {line.split(" in 7 days")[0].split()[-1]: line.split(" in 7 days ")[1].split()[0] for line in lines}


@pytest.mark.parametrize("by", ["owner", "agent"])
def test_the_overview_of_an_owner_or_an_agent_has_the_numbers_of_the_api(read: Read, fleet: Fleet, by: str) -> None:
    agents = (fleet.first, fleet.second) if by == "owner" else (fleet.first,)
    query = urlencode({by: "Support" if by == "owner" else str(fleet.first.agent_id)})
    days = fleet.agents(*agents)
    tokens, requests, rejected = (sum(day[n] for day in days) for n in range(3))
    page = read(f"?days=7&{query}")
    assert figures(page) == {"Tokens": str(tokens), "Requests": str(requests), "Rejected": str(rejected)}
    rows = [tuple(map(number, row[1:4])) for row in reversed(page.table("Tokens issued"))]
    assert rows == days
    assert [tuple(map(int, row[1:])) for row in fleet.file("days", query)] == days
    assert sum(int(row[2]) for row in fleet.file("activity", query)) == requests
    listed = [row[0].split()[0] for row in page.table("Agents")]
    assert listed == [agent for agent, _ in zip(("first", "second"), agents, strict=False)]
    assert sum(number(row[1]) for row in page.table("Agents")) == tokens
    # No figure is about the whole organization.
    assert "Budget" not in page.words.partition("Tokens issued")[0]
    assert "sales" not in page.text.partition("<main")[2]


@pytest.mark.parametrize("by", ["resource", "credential"])
def test_the_overview_of_an_api_or_a_credential_shows_tokens_only(read: Read, fleet: Fleet, by: str) -> None:
    query = urlencode({by: fleet.resource if by == "resource" else fleet.credential_of_resource()})
    page = read(f"?days=7&{query}")
    assert figures(page) == {"Tokens": "7"}
    assert page.table("Tokens issued")[0][1:4] == ["7", "\N{EN DASH}", "\N{EN DASH}"]
    assert [row[1] for row in fleet.file("days", query)] == ["0"] * 6 + ["7"]
    assert [(row[0].split()[0], row[1]) for row in page.table("Agents with tokens")] == [("first", "100.0 %")]
    assert not page.words.count("Rejected requests") and "Requests by weekday" not in page.text
    assert "This page shows only tokens" in page.words


def test_filters_are_combined(read: Read, fleet: Fleet) -> None:
    own = read("?days=7&" + urlencode({"owner": "Support", "resource": fleet.acme.services.settings.resource}))
    assert "Owner: Support" in own.words
    agent = {"agent": str(fleet.first.agent_id), "resource": fleet.resource}
    assert figures(read("?days=7&" + urlencode(agent))) == {"Tokens": "7"}
    other = read("?days=7&" + urlencode({"owner": "Sales", "agent": str(fleet.first.agent_id)}))
    assert figures(other) == {"Tokens": "0", "Requests": "0", "Rejected": "0"}
    assert fleet.file("owners", urlencode({"owner": "Sales", "agent": str(fleet.first.agent_id)})) == []


def test_the_pages_of_usage_have_the_filtered_numbers(read: Read, fleet: Fleet) -> None:
    support = urlencode({"owner": "Support"})
    assert read(f"/usage?days=7&{support}").table("The tokens of each owner") == [["Support", "2", "100.0 %", "15"]]
    assert fleet.file("owners", support) == [["Support", "2", "15"]]
    first = urlencode({"agent": str(fleet.first.agent_id)})
    assert fleet.file("owners", first) == [["Support", "1", "12"]]
    of_api = urlencode({"resource": fleet.resource})
    assert fleet.file("owners", of_api) == [["Support", "1", "7"]]
    rows = read(f"/usage/resources?days=7&{support}").table("The tokens for each API")
    assert [(row[1], row[2], row[4]) for row in rows] == [
        (fleet.acme.services.settings.resource, "2", "8"),
        (fleet.resource, "1", "7"),
    ]
    assert {row[3] for row in fleet.file("resources", support)} == {"8", "7"}
    assert [row[1] for row in read(f"/usage/resources?days=7&{of_api}").table("The tokens for each API")] == [
        fleet.resource
    ]
    api_items = fleet.api.get(f"analytics/credentials?days=7&agent={fleet.first.agent_id}").json["data"]
    assert sorted(row[0] for row in fleet.file("credentials", first)) == sorted(i["credentialId"] for i in api_items)
    credential = fleet.credential_of_resource()
    assert [row[0] for row in fleet.file("credentials", urlencode({"credential": credential}))] == [credential]
    assert [row[0] for row in fleet.file("credentials", of_api)] == [credential]


def test_delegations_of_an_owner_are_those_in_which_its_agents_act_or_are_acted_for(read: Read, fleet: Fleet) -> None:
    api_items = fleet.api.get(f"analytics/delegations?days=7&agent={fleet.second.agent_id}").json["data"]
    query = urlencode({"agent": str(fleet.second.agent_id)})
    assert [row[6] for row in fleet.file("delegations", query)] == [str(item["tokens"]) for item in api_items] == ["1"]
    page = read("/usage/delegations?days=7&owner=Support")
    assert [row[3] for row in page.table("Agents that got tokens for others")] == ["2", "1"]
    assert len(fleet.file("delegations", urlencode({"resource": fleet.resource}))) == 2


def test_filters_stay_in_the_addresses_and_can_be_removed(read: Read, fleet: Fleet) -> None:
    page = read("?days=7&owner=Support")
    links = page.links
    assert f"/dashboard?days=7&owner=Support&agent={fleet.first.agent_id}" in links
    assert "/dashboard?days=7" in links
    for path in PAGES[1:]:
        assert f"/dashboard{path}?days=7&owner=Support" in read("/usage?days=7&owner=Support").links
    assert "/dashboard?days=30&owner=Support" in links
    assert "/dashboard?days=7&owner=Support&compare=month" in links
    assert {link for link in links if ".csv" in link} == {
        f"/dashboard/{name}.csv?days=7&owner=Support" for name in ("days", "activity", "agents")
    }
    # Tokens from an exchange are not counted per credential, so this page does not get the filter.
    links = read(f"/usage?days=7&credential={fleet.credential_of_resource()}").links
    assert "/dashboard/usage/delegations?days=7" in links


def test_refuses_what_the_organization_does_not_have(signed_in: FlaskClient, cast: Cast, fleet: Fleet) -> None:
    outsider = cast.outsider
    Api(signed_in, outsider).patch(f"agents/{outsider.agent_id}", {"owner": "Outside"})
    [foreign_credential] = outsider.credential_ids()
    refusals = {
        "owner": ("Outside", "No agent has the owner Outside."),
        "agent": (str(outsider.agent_id), "The organization has no agent with this ID."),
        "resource": ("https://other.example", "The organization has no API with the identifier https://other.example."),
        "credential": (
            str(foreign_credential),
            "The organization has no credential with this ID that was in force in these days.",
        ),
    }
    for name, (value, sentence) in refusals.items():
        for path in (*PAGES[:4], *(f"/{file}.csv" for file in FILES[:1] + FILES[2:5])):
            response = signed_in.get(f"/dashboard{path}?{urlencode({name: value})}")
            assert (response.status_code, Page(response).notice) == (400, sentence), path
    for query, sentence in (
        ({"agent": "x"}, "The agent must be an ID."),
        ({"owner": "x" * 201}, "The owner or the API is too long."),
        ({"owner": "\0"}, "The owner or the API is too long."),
        ({"agent": str(uuid4())}, "The organization has no agent with this ID."),
    ):
        response = signed_in.get(f"/dashboard?{urlencode(query)}")
        assert (response.status_code, Page(response).notice) == (400, sentence)
    credential = urlencode({"credential": fleet.credential_of_resource()})
    for path in ("/usage/delegations", "/delegations.csv"):
        response = signed_in.get(f"/dashboard{path}?{credential}")
        assert Page(response).notice == "This cannot be filtered by credential. Remove the filter."
