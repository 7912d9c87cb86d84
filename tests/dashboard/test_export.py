"""The CSV beside each chart and table has what the page shows, for a session."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.services import Services
from agentidp.usage import record_rejection
from tests.conftest import Cast
from tests.dashboard.conftest import Page, Read, number, with_session
from tests.factories import NOON, Agent, count_usage, make_agent

YESTERDAY = NOON - timedelta(days=1)


@pytest.fixture
def worker(client: FlaskClient, cast: Cast, services: Services) -> Agent:
    """An agent whose name a spreadsheet would take for a formula, with usage of each kind on two days."""
    organization_id = cast.acme.organization_id
    made = make_agent(services, organization_id, name="=1+1")
    count_usage(services, organization_id, made.agent_id, YESTERDAY, tokens=7, requests=30)
    count_usage(services, organization_id, made.agent_id, NOON - timedelta(hours=2), tokens=5)
    record_rejection(services.database.of(organization_id, YESTERDAY), made.agent_id)
    return made


def exported(client: FlaskClient, address: str) -> list[list[str]]:
    """The rows of a CSV that is there, the names first."""
    response = client.get(address)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="[0-9a-z-]+\.csv"', response.headers["Content-Disposition"])
    assert response.headers["Cache-Control"] == "no-store"
    return list(csv.reader(io.StringIO(response.text)))


def links(page: Page) -> list[str]:
    """The addresses of the page's CSV."""
    return [str(a["href"]) for a in page.all("a") if ".csv" in str(a.get("href"))]


def api_requests(page: Page) -> list[str]:
    """The paths of the requests to the API that the page names beside its charts."""
    found: list[str] = re.findall(r"GET (/api/v1/analytics/\S+)", page.text)
    return found


def test_the_overviews_charts(signed_in: FlaskClient, read: Read, worker: Agent) -> None:
    page = read("?days=7")
    days, again, activity = links(page)
    assert days == again == "/dashboard/days.csv?days=7"
    names, *rows = exported(signed_in, days)
    assert names == ["date", "tokens", "requests", "rejected"]
    assert [row[1:] for row in reversed(rows)] == [
        [str(number(cell)) for cell in row[1:4]] for row in page.table("Tokens issued")
    ]
    assert (rows[0][0], rows[-2]) == ("2026-04-09", ["2026-04-14", "7", "37", "1"])
    assert exported(signed_in, activity) == [["dow", "hour", "count"], ["2", "12", "37"], ["3", "10", "5"]]
    assert api_requests(page) == [
        "/api/v1/analytics/tokens?days=7",
        "/api/v1/analytics/usage?days=7",
        "/api/v1/analytics/agents/activity?days=7",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "?days=30",
        "?month=2026-04",
        "?from=2026-04-12&to=2026-04-14",
        "?from=2026-01-12&to=2026-04-13",
        "/days/2026-04-14",
    ]
    + [f"/agents/{{}}{path}" for path in ("?days=30", "?month=2026-03", "?from=2026-04-12&to=2026-04-14")]
    + ["/agents/{}/days/2026-04-14"],
)
def test_the_request_to_the_api_beside_a_chart_returns_the_same(
    signed_in: FlaskClient, read: Read, cast: Cast, worker: Agent, path: str
) -> None:
    page = read(path.format(worker.agent_id))
    shown = [exported(signed_in, address) for address in links(page)]
    requests = api_requests(page)
    # The heatmap and an agent's days reach over 90 days at most.
    assert len(requests) == len(shown) - path.startswith("?from=2026-01-12")
    for request, rows in zip(requests, shown, strict=False):
        response = signed_in.get(request, headers=cast.acme.bearer() | {"Accept": "text/csv"})
        names, *found = csv.reader(io.StringIO(response.text.replace(".000000Z", "Z")))
        # The trend has the tokens only, and calls them otherwise.
        columns = [rows[0].index("tokens" if name == "count" and "dow" not in names else name) for name in names]
        assert found
        assert past(found) == past([[row[column] for column in columns] for row in rows[1:]])


def past(rows: list[list[str]]) -> list[list[str]]:
    """The rows without those of today, Wednesday noon, which count the requests of the test."""
    return [row for row in rows if row[0] != "2026-04-15" and row[:2] != ["3", "12"]]


def test_an_agents_charts(signed_in: FlaskClient, read: Read, worker: Agent) -> None:
    days, again = links(read(f"/agents/{worker.agent_id}?month=2026-04"))
    assert days == again == f"/dashboard/agents/{worker.agent_id}/days.csv?month=2026-04"
    rows = exported(signed_in, days)
    assert (rows[1][0], rows[-1]) == ("2026-04-01", ["2026-04-15", "5", "5", "0"])
    assert rows[-2] == ["2026-04-14", "7", "37", "1"]


def test_a_days_hours(signed_in: FlaskClient, read: Read, worker: Agent) -> None:
    for path in ("/days/2026-04-14", f"/agents/{worker.agent_id}/days/2026-04-14"):
        address, *_ = links(read(path))
        names, *rows = exported(signed_in, address)
        assert names == ["hour", "tokens", "requests", "rejected"]
        assert len(rows) == 24
        assert [row for row in rows if row[1] != "0"] == [["2026-04-14T12:00:00Z", "7", "37", "1"]]


def test_the_agents_that_are_shown_on_all_pages(
    client: FlaskClient, cast: Cast, services: Services, worker: Agent
) -> None:
    for index in range(51):
        make_agent(services, cast.acme.organization_id, name=f"idle {index:02}")
    with_session(client, cast.acme)
    [address] = links(Page(client.get("/dashboard/agents?days=7&sort=name&search=idle")))
    _, *rows = exported(client, address)
    assert [row[1] for row in rows] == [f"idle {index:02}" for index in range(51)]
    names, row = exported(client, "/dashboard/agents.csv?search=%3D1")
    assert names == [
        *("agentId", "name", "owner", "status", "tokens", "requests", "rejected"),
        *("lastTokenHour", "lastRequestHour", "lastRejectionHour"),
    ]
    assert row == [
        *(worker.client_id, "'=1+1", "", "active", "12", "42", "1"),
        *("2026-04-15T10:00:00.000000Z", "2026-04-15T10:00:00.000000Z", "2026-04-14T12:00:00.000000Z"),
    ]


def test_many_agents_are_in_several_files_of_which_each_leads_to_the_next(
    signed_in: FlaskClient, cast: Cast, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("agents", "export"):
        monkeypatch.setattr(f"agentidp.dashboard.{module}.CSV_PAGE_SIZE", 2)
    for name in ("bee 1", "bee 2", "bee 3"):
        make_agent(services, cast.acme.organization_id, name=name)
    first, second = links(Page(signed_in.get("/dashboard/agents?sort=name&search=bee")))
    assert [row[1] for row in exported(signed_in, first)] == ["name", "bee 1", "bee 2"]
    assert [row[1] for row in exported(signed_in, second)] == ["name", "bee 3"]
    response = signed_in.get(first)
    assert response.headers["Link"] == f'<{second.removeprefix("/dashboard/")}>; rel="next"'
    assert response.headers["Content-Disposition"].endswith('-part-1.csv"')
    assert "Link" not in signed_in.get(second).headers
    assert signed_in.get(f"{first}&page=3").status_code == 404
    assert signed_in.get(f"{first}&page=0").status_code == 400
    # As many as fit are one file.
    monkeypatch.setattr("agentidp.dashboard.agents.CSV_PAGE_SIZE", 3)
    monkeypatch.setattr("agentidp.dashboard.export.CSV_PAGE_SIZE", 3)
    assert links(Page(signed_in.get("/dashboard/agents?sort=name&search=bee"))) == [first]
    assert "Link" not in signed_in.get(first).headers


def test_no_empty_file_says_that_nobody_is_unusual_if_that_is_unknown(
    signed_in: FlaskClient, worker: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signed_in.get("/dashboard/agents.csv?unusual=1").status_code == 200
    monkeypatch.setattr("agentidp.dashboard.agents.unusual_agents", lambda caller: None)
    assert signed_in.get("/dashboard/agents.csv?unusual=1").status_code == 503
    assert signed_in.get("/dashboard/agents.csv").status_code == 200


def test_refuses_as_the_pages_do(signed_in: FlaskClient, cast: Cast, worker: Agent) -> None:
    outsider = cast.outsider.agent_id
    for path, status in (
        ("days.csv?days=8", 400),
        ("agents.csv?sort=id", 400),
        ("days/2026-04-16/hours.csv", 404),
        (f"agents/{outsider}/days.csv", 404),
        (f"agents/{outsider}/days/2026-04-14/hours.csv", 404),
    ):
        assert signed_in.get(f"/dashboard/{path}").status_code == status, path
    with_session(signed_in, cast.outsider)
    assert worker.client_id not in signed_in.get("/dashboard/agents.csv").text
