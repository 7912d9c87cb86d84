"""``GET /api/v1/audit``."""

from __future__ import annotations

import csv
import io
import json

import pytest
from flask.testing import FlaskClient

from agentidp.audit.chain import compute_event_hash, content_hash
from tests.audit.conftest import events_of
from tests.conftest import Cast
from tests.factories import Agent, Clock

PATH = "/api/v1/audit"


@pytest.fixture
def acme(cast: Cast, client: FlaskClient, clock: Clock) -> Agent:
    """Return an agent whose organization has five events. The last two happened an hour later."""
    clock.advance(hours=1)
    made = client.post("/api/v1/agents", json={"name": "=new"}, headers=cast.acme.bearer())
    client.delete(f"/api/v1/agents/{made.json['agentId']}", headers=cast.acme.bearer())
    return cast.acme


def sequences(client: FlaskClient, agent: Agent, **query: str | int) -> list[int]:
    """Return the sequence numbers of the events in the response."""
    response = client.get(PATH, query_string=query, headers=agent.bearer())
    assert response.status_code == 200
    return [event["sequence"] for event in response.json["data"]]


def test_returns_the_events_as_they_are_stored(client: FlaskClient, acme: Agent, database_url: str) -> None:
    response = client.get(PATH, headers=acme.bearer())
    assert response.json == {"data": events_of(database_url, acme.organization_id)[::-1], "nextCursor": None}
    assert "Link" not in response.headers
    for event in response.json["data"]:
        assert (content_hash(event), compute_event_hash(event)) == (event["contentHash"], event["hash"])


def test_filters(client: FlaskClient, acme: Agent) -> None:
    newest = client.get(PATH, headers=acme.bearer()).json["data"][0]
    assert sequences(client, acme) == [5, 4, 3, 2, 1]
    assert sequences(client, acme, action="agent.created") == [4, 2]
    assert sequences(client, acme, actor=acme.client_id) == [5, 4]
    assert sequences(client, acme, subject=newest["subject"]) == [5, 4]
    # Both bounds of the range: the first is included, the second is not.
    assert sequences(client, acme, since="2026-04-15T13:00:00Z") == [5, 4]
    assert sequences(client, acme, until="2026-04-15T13:00:00Z") == [3, 2, 1]
    assert sequences(client, acme, since="2026-04-15T13:00:00Z", action="agent.created") == [4]


def test_pages(client: FlaskClient, acme: Agent) -> None:
    first = client.get(f"{PATH}?limit=2&since=2026-04-15T12:00:00Z", headers=acme.bearer())
    assert ([event["sequence"] for event in first.json["data"]], first.json["nextCursor"]) == ([5, 4], "4")
    address = (
        "http://localhost:3000/api/v1/audit?since=2026-04-15T12%3A00%3A00.000000Z&limit=2&cursor=4",
        "http://localhost:3000",
    )
    assert first.headers["Link"] == f'<{address[0]}>; rel="next"'
    second = client.get(address[0].removeprefix(address[1]), headers=acme.bearer())
    assert ([event["sequence"] for event in second.json["data"]], second.json["nextCursor"]) == ([3, 2], "2")
    assert sequences(client, acme, limit=2, cursor=2) == [1]
    assert sequences(client, acme, cursor=1) == []


def test_a_collector_continues_after_its_last_event(client: FlaskClient, acme: Agent, cast: Cast) -> None:
    first = client.get(f"{PATH}?after=0&limit=2", headers=acme.bearer())
    assert ([event["sequence"] for event in first.json["data"]], first.json["nextCursor"]) == ([1, 2], "2")
    assert first.headers["Link"] == '<http://localhost:3000/api/v1/audit?limit=2&after=2>; rel="next"'
    last = client.get(f"{PATH}?after=2&limit=3", headers=acme.bearer())
    assert ([event["sequence"] for event in last.json["data"]], last.json["nextCursor"]) == ([3, 4, 5], None)
    assert "Link" not in last.headers
    assert sequences(client, acme, after=5) == []
    client.post("/api/v1/agents", json={"name": "later"}, headers=acme.bearer())
    assert sequences(client, acme, after=5) == [6]
    assert {event["organizationId"] for event in last.json["data"]} == {acme.organization_id}
    response = client.get(f"{PATH}?after=1&cursor=4&action=agent.created", headers=acme.bearer())
    rule = ["must not be given with after"]
    assert (response.status_code, response.json["details"]) == (400, {"action": rule, "cursor": rule})


def test_returns_ndjson_and_csv(client: FlaskClient, acme: Agent) -> None:
    in_json = client.get(PATH, headers=acme.bearer()).json["data"]
    lines = client.get(PATH, headers=acme.bearer() | {"Accept": "application/x-ndjson"})
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == in_json
    assert lines.text.endswith("}\n")
    table = client.get(PATH, headers=acme.bearer() | {"Accept": "text/csv"})
    assert table.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    rows = list(csv.DictReader(io.StringIO(table.text, newline="")))
    assert [list(row) for row in rows] == [list(event) for event in in_json]
    assert [json.loads(row["before"]) if row["before"] else None for row in rows] == [
        event["before"] for event in in_json
    ]


def test_refuses_what_it_does_not_know(shared_client: FlaskClient, shared_cast: Cast) -> None:
    for query in (
        *("limit=0", "limit=1001", "cursor=x", "cursor=9223372036854775808", "action=agent.painted", "actor="),
        *("subject=%00", "since=yesterday", "until=2026-04-15"),
    ):
        response = shared_client.get(f"{PATH}?{query}", headers=shared_cast.acme.bearer())
        assert (response.status_code, [*response.json["details"]]) == (400, [query.partition("=")[0]]), query
