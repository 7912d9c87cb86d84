"""What the analytics endpoints have in common: JSON or CSV, and an ETag for pollers."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from uuid import UUID

import marshmallow as ma
import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.http.responses import BLOCK, data_response
from agentidp.services import Services
from tests.analytics.oracle import HEATMAP, TREND, USAGE
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import Cast
from tests.factories import NOON, Agent, count_delegation, make_agent, usage_sums
from tests.routes import ROUTES, Route
from tests.wire import overheard

ANALYTICS = [
    route
    for route in ROUTES
    # A single finding is an object, and has its actions.
    if route.rule.startswith("/api/v1/analytics/") and "finding_id" not in route.rule
]
CSV = {"Accept": "text/csv"}
CSV_TYPE = "text/csv; charset=utf-8; header=present"


@pytest.fixture
def busy(services: Services, cast: Cast) -> Agent:
    """Something of everything that an endpoint returns: an agent with so much of the month's tokens that there is a
    finding, and with a rejection.
    """
    agent = make_agent(services, cast.acme.organization_id, '=SUM(A1), "busy"')
    agent.count(NOON, tokens=99, rejected=1)
    cast.acme.count(NOON, tokens=1)
    count_delegation(agent, "=issuer", NOON, 1, "https://api.example")
    return agent


def flat(item: dict[str, Any], before: str = "") -> dict[str, str]:
    """Return the texts of the cells of an object, by other code than the product."""
    cells = {}
    for name, value in item.items():
        if isinstance(value, dict):
            cells |= flat(value, f"{before}{name}.")
        elif value is None:
            cells[before + name] = ""
        elif isinstance(value, list):
            cells[before + name] = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        else:
            cells[before + name] = ("'" if str(value)[0] == "=" else "") + str(value)
    return cells


@pytest.mark.parametrize("route", ANALYTICS, ids=str)
def test_every_endpoint_returns_csv_with_the_rows_of_its_json(
    client: FlaskClient, busy: Agent, cast: Cast, route: Route
) -> None:
    bearer = cast.acme.bearer()
    path = f"{route.path(busy.agent_id)}{'?include=name' if route.rule == USAGE else ''}"
    # The first one stores what it has computed, and counts the first request of the hour.
    client.get(path, headers=bearer)
    in_json, in_csv, later = (client.get(path, headers=bearer | accept) for accept in ({}, CSV, {}))
    assert in_csv.status_code == 200
    assert in_csv.headers["Content-Type"] == CSV_TYPE
    assert in_json.headers["Content-Type"] == "application/json"
    file = route.endpoint.partition(".")[0] + (f"-{busy.agent_id}" if "<" in route.rule else "")
    assert in_csv.headers["Content-Disposition"] == f'attachment; filename="{file}.csv"'
    assert "Content-Disposition" not in in_json.headers
    text = in_csv.get_data().decode()
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    expected = [flat(item) for item in in_json.json["data"]]
    for row, row_later in zip(expected, map(flat, later.json["data"]), strict=True):
        for name in row.keys() | row_later.keys():
            if row[name] != row_later[name]:
                # A request counts itself after it has read.
                assert int(row_later[name]) == int(row[name]) + 2
                row[name] = str(int(row[name]) + 1)
    assert rows == expected
    assert rows, "let busy have something that the endpoint returns"
    assert list(rows[0]) == list(expected[0])


def test_csv_of_nothing_is_the_header_row(client: FlaskClient, cast: Cast) -> None:
    response = client.get(f"{USAGE}?include=name", headers=cast.acme.bearer() | CSV)
    assert (response.status_code, response.get_data()) == (200, b"agentId,tokenCount,agentName\r\n")


class Inner(ma.Schema):
    """An object in a row."""

    value = ma.fields.Raw()


class Row(ma.Schema):
    """A row with a nested object."""

    cell = ma.fields.Raw()
    nested = ma.fields.Nested(Inner, data_key="in")


class Plain(ma.Schema):
    """A row that needs no escaping."""

    agentId = ma.fields.UUID()
    day = ma.fields.Date(data_key="date")
    count = ma.fields.Integer()


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "application/x-ndjson"])
@pytest.mark.parametrize("number", [0, 1, 3, 2 * BLOCK, 2 * BLOCK + 1])
def test_tuples_objects_and_represented_rows_give_the_same_response(
    shared_app: Flask, accept: str, number: int
) -> None:
    tuples = [(str(UUID(int=row)), f"2026-04-{row % 30 + 1:02}", row * 10**16) for row in range(number)]

    def as_object(row: tuple[str, str, int]) -> dict[str, Any]:
        return {"agentId": row[0], "date": row[1], "count": row[2]}

    objects = [as_object(row) for row in tuples]
    body = {"tenantId": 'a"b', "data": objects}
    expected = json.dumps(body, separators=(",", ":"))
    with shared_app.test_request_context(TREND, headers={"Accept": accept}):
        responses = [
            data_response(body | {"data": [*tuples]}, Plain),
            data_response(body | {"data": [*tuples]}, Plain, as_object),
            data_response(body, Plain),
        ]
    assert len({(response.get_data(), response.headers["ETag"]) for response in responses}) == 1
    if accept == "application/json":
        assert responses[0].get_data(as_text=True) == expected
    # The rows are released in blocks.
    assert not objects


@pytest.mark.parametrize("length", [BLOCK, BLOCK + 1])
@pytest.mark.parametrize("number", [1, 2])
def test_a_long_list_in_a_row_is_encoded_like_a_short_one(shared_app: Flask, length: int, number: int) -> None:
    rows = [{"cell": [*range(length)], "in": {"value": [*range(row)]}} for row in range(number)]
    as_json = [json.dumps(row, separators=(",", ":")) for row in rows]
    for accept, content in [
        ("application/json", f'{{"data":[{",".join(as_json)}]}}'),
        ("application/x-ndjson", "".join(f"{line}\n" for line in as_json)),
    ]:
        with shared_app.test_request_context(TREND, headers={"Accept": accept}):
            copies = [row | {"cell": [*row["cell"]]} for row in rows]
            assert data_response({"data": copies}, Row).get_data(as_text=True) == content


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        *((f"{first}1", f"'{first}1") for first in "=+-@\uff1d\uff0b\uff0d\uff20"),
        ("\tx", "'\tx"),
        ("\rx", '"\'\rx"'),
        ("\nx", '"\'\nx"'),
        ('="a",b', '"\'=""a"",b"'),
        # Not at the beginning, so no formula.
        ("x=1", "x=1"),
        (" =1", " =1"),
        ("'=1", "'=1"),
        # Numbers are numbers.
        (-1, "-1"),
        (-1.5, "-1.5"),
        (10**18, "1000000000000000000"),
        (None, ""),
        ('a "b"', '"a ""b"""'),
        ("a,b", '"a,b"'),
        ("a\r\nb", '"a\r\nb"'),
        ("zoë 😀", "zoë 😀"),
        ([{"agentName": "=1"}], '"[{""agentName"":""=1""}]"'),
    ],
)
def test_a_cell_is_quoted_where_it_must_be_and_is_no_formula(shared_app: Flask, value: Any, cell: str) -> None:
    with shared_app.test_request_context(TREND, headers=CSV):
        response = data_response({"data": [{"in": {"value": value}, "cell": value}]}, Row)
    assert response.get_data().decode() == f"cell,in.value\r\n{cell},{cell}\r\n"


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        (None, False),
        ("*/*", False),
        ("text/csv, application/json", False),
        ("text/csv;q=0.5, */*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        # Neither: JSON, rather than 406.
        ("image/png", False),
        ("text/csv;header=absent", False),
        ("text/*", True),
        (CSV_TYPE, True),
        ("application/json;q=0, */*;q=0.1", True),
        # Asked for by name, which anything else is not.
        ("text/csv, */*", True),
    ],
)
def test_csv_is_sent_where_accept_prefers_it(
    shared_client: FlaskClient, shared_cast: Cast, accept: str | None, is_csv: bool
) -> None:
    headers = shared_cast.acme.bearer() | ({} if accept is None else {"Accept": accept})
    response = shared_client.get(f"{TREND}?days=1", headers=headers)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == (CSV_TYPE if is_csv else "application/json")


COMMON = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Accept", "X-Content-Type-Options": "nosniff"}


@pytest.mark.parametrize("route", ANALYTICS, ids=str)
def test_a_poller_that_has_the_answer_gets_304_and_is_counted(
    client: FlaskClient, busy: Agent, cast: Cast, database_url: str, route: Route
) -> None:
    path, seen = route.path(busy.agent_id), set()
    # Some count the request itself, so that a poller never has the answer.
    earlier, later = (client.get(path, headers=cast.acme.bearer()).get_data() for _ in range(2))
    for number, accept in enumerate(("application/json", "text/csv")):
        headers = cast.acme.bearer() | {"Accept": accept}
        first = client.get(path, headers=headers)
        assert first.status_code == 200
        assert {name: first.headers[name] for name in COMMON} == COMMON
        tag = first.headers["ETag"]
        # Weak: a proxy that compresses leaves it as it is.
        assert re.fullmatch(r'W/"[0-9a-f]{32}"', tag)
        response = client.get(path, headers=headers | {"If-None-Match": tag})
        if earlier == later:
            assert (response.status_code, response.get_data()) == (304, b"")
            assert dict(response.headers) == COMMON | {"ETag": tag, "X-Request-Id": response.headers["X-Request-Id"]}
        else:
            assert response.status_code == 200
            assert response.headers["ETag"] != tag
        assert usage_sums(database_url, cast.acme.organization_id)["requests"] == 102 + 2 * (number + 1)
        seen.add(tag)
    # The JSON is not the CSV.
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("{tag}", 304),
        ("{strong}", 304),
        ('W/"x",{strong},W/"y"', 304),
        ("*", 304),
        ('"x"', 200),
        ("nonsense", 200),
        ('"{tag}"', 200),
    ],
)
def test_if_none_match_compares_weakly(shared_client: FlaskClient, shared_cast: Cast, sent: str, status: int) -> None:
    path, headers = f"{TREND}?days=1", shared_cast.acme.bearer()
    tag = shared_client.get(path, headers=headers).headers["ETag"]
    sent = sent.format(tag=tag, strong=tag.removeprefix("W/"))
    for method in ("GET", "HEAD"):
        response = shared_client.open(path, method=method, headers=headers | {"If-None-Match": sent})
        assert (response.status_code, response.headers["ETag"]) == (status, tag)


def test_an_etag_is_of_the_answer(client: FlaskClient, cast: Cast) -> None:
    headers = cast.acme.bearer()
    tags = [client.get(TREND, headers=headers).headers["ETag"]]
    tags.append(client.get(f"{TREND}?days=29", headers=headers).headers["ETag"])
    # The outsider's organization has the same numbers.
    tags.append(client.get(TREND, headers=cast.outsider.bearer()).headers["ETag"])
    cast.acme.count(NOON, tokens=1)
    changed = client.get(TREND, headers=headers | {"If-None-Match": tags[0]})
    assert changed.status_code == 200
    assert changed.json["data"][-1] == {"date": "2026-04-15", "count": 1}
    assert len({*tags, changed.headers["ETag"]}) == 4


@COMPARES_STATEMENTS
@pytest.mark.parametrize(
    ("path", "statements"),
    [
        (TREND, ["token_trend"]),
        (HEATMAP, ["activity_heatmap"]),
        (USAGE, ["agent_usage"]),
        (f"{USAGE}?include=name", ["agent_usage"]),
        (f"{USAGE}/{{}}", ["agent_activity"]),
        (f"{USAGE}/{{}}/hours", ["agent_usage_by_hour"]),
        (f"{USAGE}/{{}}/rejections", ["agent_rejections"]),
        ("/api/v1/analytics/usage", ["usage_by_day", "refusals_by_day"]),
        ("/api/v1/analytics/usage/hours", ["usage_by_hour"]),
        ("/api/v1/analytics/owners", ["owner_usage"]),
        ("/api/v1/analytics/credentials", ["tokens_by_credential", "credentials", "agent_names"]),
    ],
)
def test_is_one_round_trip(
    client: FlaskClient, services: Services, cast: Cast, path: str, statements: list[str]
) -> None:
    bearer = cast.acme.bearer()
    with overheard(services.database) as conversation:
        assert client.get(path.format(cast.acme.agent_id), headers=bearer).status_code == 200
    assert conversation.statements == [
        "database/enter_organization",
        *(f"analytics/{name}" for name in statements),
        "usage/record_request",
    ]
    assert conversation.round_trips == 1
