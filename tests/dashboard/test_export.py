"""The downloads of the charts and tables contain the numbers that the page shows."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard import export
from agentidp.dashboard.agents import PAGE_SIZE
from agentidp.db.errors import DatabaseUnavailable
from agentidp.services import Services
from tests.dashboard.conftest import Page, Read, number, unavailable, with_session
from tests.factories import NOON, Agent, Api, count_delegation

YESTERDAY = NOON - timedelta(days=1)


@pytest.fixture
def worker(acme: Agent) -> Agent:
    """Return an agent whose name a spreadsheet would run as a formula, with usage of each kind on two days."""
    agent = acme.colleague("=1+1")
    agent.count(YESTERDAY, tokens=7, requests=30)
    agent.count(NOON - timedelta(hours=2), tokens=5)
    agent.count(YESTERDAY, rejected=1)
    return agent


def exported(client: FlaskClient, address: str) -> list[list[str]]:
    """Return the rows of a CSV, the header row first."""
    response = client.get(address)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert re.fullmatch(r'attachment; filename="[0-9a-z-]+\.csv"', response.headers["Content-Disposition"])
    assert response.headers["Cache-Control"] == "no-store"
    return list(csv.reader(io.StringIO(response.text)))


def links(page: Page) -> list[str]:
    """Return the addresses of the page's downloads."""
    return [link for link in page.links if ".csv" in link]


def api_requests(page: Page) -> dict[str, str]:
    """Return the name of each file of the page Export and the API request that returns the same content."""
    return {name: request.removeprefix("GET ") for _, name, request in page.table("Files")}


def of_days(page: Page) -> list[list[str]]:
    """Return the tokens, requests and rejected requests in the table of days, oldest first, without the days."""
    return [[str(number(cell)) for cell in row[1:4]] for row in reversed(page.table("Tokens"))]


def test_the_overviews_charts(signed_in: FlaskClient, read: Read, worker: Agent) -> None:
    page = read("?days=7")
    days, again, activity, agents = links(page)
    assert days == again == "/dashboard/days.csv?days=7"
    assert agents == "/dashboard/agents.csv?days=7"
    names, *rows = exported(signed_in, days)
    assert names == ["date", "tokens", "requests", "rejected", "refused"]
    assert of_days(page) == [row[1:4] for row in rows]
    for words, column in (("tokens", 1), ("rejected requests", 3)):
        titles = re.findall(rf"\w+ \d+ Apr: ([\d,]+) {words}", page.text)
        assert titles == [row[column] for row in rows]
    assert (rows[0][0], rows[-2]) == ("2026-04-09", ["2026-04-14", "7", "37", "1", "0"])
    assert exported(signed_in, activity) == [["dow", "hour", "count"], ["2", "12", "37"], ["3", "10", "5"]]
    cells = [(row[0], hour, cell) for row in page.table("Average requests") for hour, cell in enumerate(row[1:])]
    busy_cells = [cell for cell in cells if cell[2] not in ("0", "\N{EN DASH}")]
    assert busy_cells == [("Tuesday", 12, "37"), ("Wednesday", 10, "5")]
    of_agent = read(f"/agents/{worker.agent_id}?days=7")
    assert of_days(of_agent) == [row[1:] for row in exported(signed_in, links(of_agent)[0])[1:]]
    assert "Wed 15 Apr, 10:00-11:00" in of_agent.words


def test_the_budgets_tokens_are_those_of_the_days_beside_it(signed_in: FlaskClient, read: Read, worker: Agent) -> None:
    for at in (datetime(2026, 3, 31, 23, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)):
        worker.count(at, tokens=100)
    page = read("/month")
    assert links(page)[0] == "/dashboard/days.csv?month=2026-04"
    _, *rows = exported(signed_in, links(page)[0])
    assert (len(rows), sum(int(row[1]) for row in rows)) == (15, 112)
    assert "Tokens in 15 days 112 " in page.words


@pytest.mark.parametrize("query", ["?month=2026-03", "?from=2026-03-01&to=2026-03-31"])
def test_the_agents_of_a_period_are_those_of_the_api(
    signed_in: FlaskClient, read: Read, acme: Agent, worker: Agent, query: str
) -> None:
    for at in (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 31, 23, tzinfo=UTC)):
        worker.count(at, tokens=10)
    for path in ("", "/agents"):
        page = read(f"{path}{query}")
        [address] = [link for link in links(page) if "/agents.csv" in link]
        _, *rows = exported(signed_in, address)
        request = api_requests(read(f"/export{query}"))["agents.csv"]
        api_agents = Api(signed_in, acme).get(request).json["data"]
        assert [(agent["agentId"], agent["agentName"], agent["tokenCount"]) for agent in api_agents] == [
            (row[0], row[1].removeprefix("'"), int(row[3])) for row in rows if row[3] != "0"
        ]
        assert sum(agent["tokenCount"] for agent in api_agents) == 20


@pytest.mark.parametrize("query", ["", "?days=30", "?month=2026-04", "?from=2026-04-12&to=2026-04-14"])
def test_each_file_has_what_the_api_request_beside_it_returns(
    signed_in: FlaskClient, read: Read, acme: Agent, worker: Agent, query: str
) -> None:
    count_delegation(worker, acme, YESTERDAY, 3, "https://api.example")
    page = read(f"/export{query}")
    requests = api_requests(page)
    assert [link.partition("?")[0] for link in links(page)] == [f"/dashboard/{name}" for name in requests]
    for address, request in zip(links(page), requests.values(), strict=True):
        response = signed_in.get(request, headers=acme.bearer() | {"Accept": "text/csv"})
        _, *api_rows = csv.reader(io.StringIO(response.text))
        _, *rows = exported(signed_in, address)
        assert rows
        # The file of the agents has further columns, and agents without tokens.
        if "/agents.csv" not in address:
            assert past(rows) == past(api_rows)


def test_exports_only_what_the_session_may_read(client: FlaskClient, worker: Agent) -> None:
    without_scope = worker.colleague("reader", ["analytics:read"])
    files = api_requests(Page(with_session(client, without_scope).get("/dashboard/export")))
    assert sorted(files) == ["activity.csv", "agents.csv", "days.csv", "delegations.csv", "owners.csv"]


def test_the_tokens_by_owner_are_those_of_the_api(
    signed_in: FlaskClient, read: Read, acme: Agent, services: Services, worker: Agent
) -> None:
    Api(signed_in, acme).patch(f"agents/{worker.agent_id}", {"owner": "Search & Co"})
    # The agents without an owner are last. The day before the period is not counted.
    for at, tokens in ((NOON, 24), (NOON - timedelta(days=7), 9)):
        acme.count(at, tokens=tokens)
    page = read("/usage?days=7")
    assert page.table("The tokens of each owner") == [
        ["Search & Co", "1", "33.3 %", "12"],
        ["no owner", "1", "66.7 %", "24"],
    ]
    assert "/dashboard/agents?days=7&owner=Search+%26+Co" in page.links
    names, *rows = exported(signed_in, links(page)[-1])
    api_owners = Api(signed_in, acme).get("analytics/owners?days=7").json["data"]
    assert [names, *rows] == [["owner", "agents", "tokens"], ["Search & Co", "1", "12"], ["", "1", "24"]]
    assert [[owner[name] for name in names] for owner in api_owners] == [["Search & Co", 1, 12], [None, 1, 24]]


def past(rows: list[list[str]]) -> list[list[str]]:
    """Return the rows without today's, Wednesday noon, which count the requests of the test itself."""
    return [row for row in rows if row[0] != "2026-04-15" and row[:2] != ["3", "12"]]


def test_a_days_agents(
    signed_in: FlaskClient, read: Read, acme: Agent, worker: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = (acme.colleague(name) for name in ("other", "idle"))
    other.count(YESTERDAY, tokens=6, requests=1)
    other.count(YESTERDAY + timedelta(hours=1), tokens=2)
    # The table on the page has a single agent, and the file has all agents.
    monkeypatch.setattr("agentidp.dashboard.day.PAGE_SIZE", 1)
    worker_cells, other_cells = [worker.client_id, "'=1+1"], [other.client_id, "other"]
    of_the_day = [[*other_cells, "8", "9", "0"], [*worker_cells, "7", "37", "1"]]
    for query, expected in {
        "": of_the_day,
        "?by=rejected": of_the_day[::-1],
        "?hour=12": [[*worker_cells, "7", "37", "1"], [*other_cells, "6", "7", "0"]],
        "?hour=13&by=rejected": [[*other_cells, "2", "2", "0"]],
        "?hour=14": [],
    }.items():
        csv_links = links(read(f"/days/2026-04-14{query}"))[2:]
        assert csv_links == ([f"/dashboard/days/2026-04-14/agents.csv{query}"] if expected else [])
        names, *rows = exported(signed_in, f"/dashboard/days/2026-04-14/agents.csv{query}")
        assert (names, rows) == (["agentId", "name", "tokens", "requests", "rejected"], expected)


def test_the_agents_that_are_shown_on_all_pages(client: FlaskClient, acme: Agent, worker: Agent) -> None:
    for index in range(PAGE_SIZE + 1):
        acme.colleague(f"idle {index:02}")
    with_session(client, acme)
    [address] = links(Page(client.get("/dashboard/agents?days=7&sort=name&search=idle")))
    _, *rows = exported(client, address)
    assert [row[1] for row in rows] == [f"idle {index:02}" for index in range(PAGE_SIZE + 1)]
    names, row = exported(client, "/dashboard/agents.csv?search=%3D1")
    assert names[:10] == [
        *("agentId", "name", "status", "tokens", "requests", "rejected"),
        *("lastTokenHour", "lastRequestHour", "lastRejectionHour", "owner"),
    ]
    assert row[:10] == [
        *(worker.client_id, "'=1+1", "active", "12", "42", "1"),
        *("2026-04-15T10:00:00.000000Z", "2026-04-15T10:00:00.000000Z", "2026-04-14T12:00:00.000000Z", ""),
    ]


def test_many_agents_are_read_in_parts_and_none_is_missed_or_doubled(
    signed_in: FlaskClient, acme: Agent, worker: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(signed_in, acme)

    def rename(agent: Agent, name: str) -> None:
        assert api.patch(f"agents/{agent.agent_id}", {"name": name}).status_code == 200

    agents = [acme.colleague(f"agent {index}") for index in range(10)]
    # No id contains "fly". The agents with the lowest ids are not listed, so a statement may return no listed agent
    # although it is not the last statement.
    first, _, _, *flies = sorted(agents, key=lambda agent: agent.agent_id)
    for index, fly in enumerate(flies):
        rename(fly, f"fly {index}")
    for index, fly in enumerate(flies):
        # Each agent has a different last hour.
        at = YESTERDAY - timedelta(hours=index)
        fly.count(at, tokens=index, requests=2)
        fly.count(NOON, rejected=1)
    assert api.delete(f"agents/{flies[3].agent_id}").status_code == 204
    address = "/dashboard/agents.csv?sort=tokens&search=fly"
    names, *at_once = exported(signed_in, address)
    assert [row[3] for row in at_once] == list("6543210")
    monkeypatch.setattr(export, "MAX_AT_ONCE", 6)
    for size in (1, 2, 3, 6, 7, 8):
        monkeypatch.setattr(export, "MAX_EXAMINED", size)
        assert exported(signed_in, address) == [names, *sorted(at_once)], size
    # Between two statements, the agent with the fewest tokens becomes the agent with the most, and the search selects
    # another agent.
    monkeypatch.setattr(export, "MAX_EXAMINED", 2)
    response = signed_in.get(address, buffered=False)
    parts = iter(response.response)
    rows = [next(parts), next(parts)]  # the names, and the agents of the first part that has any
    flies[0].count(NOON, tokens=1_000)
    rename(first, "fly 7")
    text = "".join(part.decode() if isinstance(part, bytes) else part for part in (*rows, *parts))
    response.close()
    assert [row.split(",")[0] for row in text.splitlines()[1:]] == sorted(fly.client_id for fly in flies)
    # Up to this number of agents, the order is that of the table.
    monkeypatch.setattr(export, "MAX_AT_ONCE", 8)
    assert [row[1] for row in exported(signed_in, address)][1:3] == ["fly 0", "fly 6"]
    # The file omits what the table omits: agents that the filters exclude, and deleted agents without usage.
    monkeypatch.setattr(export, "MAX_AT_ONCE", 1)
    listed_ids = [*(fly.client_id for fly in flies if fly != flies[3]), first.client_id]
    for query in ("&status=active", "&from=2026-04-01&to=2026-04-02"):
        assert sorted(row[0] for row in exported(signed_in, address + query)[1:]) == sorted(listed_ids)


def test_a_failure_in_the_middle_does_not_look_like_a_complete_file(
    signed_in: FlaskClient, acme: Agent, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        acme.colleague(f"bee {index}")
    monkeypatch.setattr(export, "MAX_AT_ONCE", 1)
    monkeypatch.setattr(export, "MAX_EXAMINED", 1)
    response = signed_in.get("/dashboard/agents.csv", buffered=False)
    assert "Content-Length" not in response.headers
    parts = iter(response.response)
    next(parts), next(parts)
    monkeypatch.setattr(services.database, "run_for_organization", unavailable)
    with pytest.raises(DatabaseUnavailable):
        next(parts)
    response.close()


def test_no_empty_file_says_that_nobody_is_unusual_if_that_is_unknown(
    signed_in: FlaskClient, worker: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signed_in.get("/dashboard/agents.csv?unusual=1").status_code == 200
    monkeypatch.setattr("agentidp.dashboard.agents.read_unusual_agents", lambda caller: None)
    assert signed_in.get("/dashboard/agents.csv?unusual=1").status_code == 503
    assert signed_in.get("/dashboard/agents.csv").status_code == 200
