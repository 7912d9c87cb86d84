"""The content of the pages: the numbers, no data of another organization, and no harmful HTML."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape
from werkzeug.test import TestResponse

from agentidp.audit.reading import MAX_ID
from agentidp.dashboard import charts, counts, page_findings, pages
from agentidp.dashboard.filters import format_dates
from agentidp.dashboard.overview import BUSIEST
from agentidp.db.organization import common_parameters
from agentidp.db.sql import load_sql
from agentidp.demo import OPERATOR, ORGANIZATION_ID, RETRYING, create_demo
from agentidp.findings import markers, store
from agentidp.findings.finding import Contributor, FindingsQuery, Severity
from agentidp.findings.kinds import KINDS
from agentidp.findings.store import Listing
from agentidp.http.schemas import MAX_NAME, MAX_OWNER
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import SAME_ORIGIN, Page, Read, Wire, unavailable, with_session
from tests.factories import (
    NOON,
    Agent,
    Api,
    Clock,
    a_finding,
    demo_ids,
    demo_operator,
    demo_path,
    known_finding,
    make_agent,
    make_findings,
    make_organization,
)
from tests.statements import header, run_by, values_of
from tests.wire import overheard

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@pytest.fixture(scope="module")
def demo(shared_app: Flask) -> Agent:
    """Create the demo organization at noon, and return its operator."""
    services: Services = shared_app.extensions["agentidp"]
    assert create_demo(str(services.settings.database_url), services.database, NOON)
    return demo_operator(services)


@pytest.fixture
def operator(client: FlaskClient, demo: Agent) -> FlaskClient:
    """Return a client that is signed in to the demo."""
    return with_session(client, demo)


def opened(client: FlaskClient, path: str = "") -> Page:
    """Return a page that exists."""
    response = client.get(f"/dashboard{path}")
    assert response.status_code == 200, response.text
    return Page(response)


def ask(client: FlaskClient, agent: Agent, path: str) -> Any:
    """Return the response of the API."""
    return Api(client, agent).get(f"analytics/{path}").json


class TestTheNumbers:
    """The numbers are those of the API. test_export.py tests the charts and agents."""

    def test_of_the_busiest_agents(self, operator: FlaskClient) -> None:
        [busiest, every] = (opened(operator, f"{path}?month=2026-04").table("Agents") for path in ("", "/agents"))
        assert [row[1:6] for row in busiest] == [row[2:7] for row in every[:BUSIEST]]
        assert len(every) > BUSIEST == len(busiest)
        assert f"All {len(every)} agents" in opened(operator).text

    def test_of_the_findings(self, operator: FlaskClient, demo: Agent) -> None:
        page = opened(operator, "?days=90")
        findings = ask(operator, demo, "findings?days=90")["data"]
        heads = [finding for finding in findings if not finding["partOf"]]
        assert 1 < len(heads) < len(findings)
        text = page.text.partition("Tokens issued")[2]
        assert [finding["summary"] for finding in findings if format_dates(finding["summary"], NOON) not in text] == []
        for finding in heads:
            assert format_dates(finding["causes"], NOON) in text
            assert format_dates(finding["next"], NOON) in text
        # Each incident is a row with the severity of its most severe finding.
        severity = {head["findingId"]: Severity[head["severity"]] for head in heads}
        for finding in findings:
            head_id = finding["partOf"] or finding["findingId"]
            severity[head_id] = max(severity[head_id], Severity[finding["severity"]])
        rows = [a["class"] for a in page.all("details") if (a.get("class") or "").startswith("finding")]
        ended = {"ongoing": "", "ended": " ended"}
        expected = [f"finding {severity[finding['findingId']].name}{ended[finding['state']]}" for finding in heads]
        assert sorted(map(str, rows)) == sorted(expected)


@pytest.fixture(scope="module")
def database_of(shared_app: Flask) -> str:
    """Return the URL of the database that the tests of this module share."""
    return str(shared_app.extensions["agentidp"].settings.database_url)


@pytest.mark.parametrize(("tokens", "badge"), [(80, ""), (81, " large share")])
def test_an_agents_share_is_flagged_above_80_percent(read: Read, acme: Agent, tokens: int, badge: str) -> None:
    busy = acme.colleague("busy")
    busy.count(NOON, tokens=tokens)
    acme.count(NOON, tokens=100 - tokens)
    # The same share is a finding, whose badge says it.
    assert [row[0] for row in read().table("Agents")] == [f"busy{badge}", "builder"]


@pytest.mark.parametrize(
    ("count", "shade"), [(0, 0), (1, 1), (200, 1), (201, 2), (400, 2), (800, 4), (801, 5), (1000, 5)]
)
def test_hours_with_requests_have_a_shade_and_the_busiest_hour_has_the_strongest(count: int, shade: int) -> None:
    sunday = counts.DayUsage(date(2026, 4, 12), 0, 0, [count] + [0] * 23)
    saturday = counts.DayUsage(date(2026, 4, 11), 0, 0, [0] * 23 + [1000])
    week = charts.build_heatmap([saturday, sunday], NOON)
    assert (week.cells[0][0], week.cells[6][23], week.cells[3][12]) == ((count, shade), (1000, 5), (None, 0))
    assert [len(hours) for hours in week.cells] == [24] * 7
    assert week.busiest == (6, 23)


def test_the_heatmap_compares_averages_because_a_weekday_can_be_more_frequent() -> None:
    sundays = [counts.DayUsage(date(2026, 3, day), 0, 0, [6] * 24) for day in (1, 8, 15, 22, 29)]
    friday, today = (counts.DayUsage(day, 0, 0, [12] * 24) for day in (date(2026, 4, 10), NOON.date()))
    week = charts.build_heatmap([*sundays, friday, today], NOON)
    assert (week.cells[0][1], week.cells[5][1], week.busiest) == ((6, 3), (12, 5), (5, 23))
    # The hour from 12:00 on is not over.
    assert [average for average, _ in week.cells[3]] == [12] * 12 + [None] * 12
    # Days before the first usage are unknown.
    assert charts.build_heatmap([*sundays, friday], NOON, friday.day).cells[0][1] == (None, 0)
    assert charts.build_heatmap([], NOON).busiest is None


def test_the_averages_of_the_heatmap_are_the_sums_of_the_api_per_day(operator: FlaskClient, demo: Agent) -> None:
    rows = opened(operator, "?month=2026-03").table("Average requests")
    cells = ask(operator, demo, "agents/activity?month=2026-03")["data"]
    sums = {(cell["dow"], cell["hour"]): cell["count"] for cell in cells}
    # March 2026 has five Sundays, Mondays and Tuesdays.
    expected = [
        [f"{float(f'{sums.get((dow, hour), 0) / (5 if dow < 3 else 4):.1f}'):,.15g}" for hour in range(24)]
        for dow in range(7)
    ]
    assert [row[1:] for row in rows] == expected


def test_a_deleted_agent_stays_for_the_month_in_which_it_was_counted(
    client: FlaskClient, acme: Agent, clock: Clock
) -> None:
    gone, unused = (acme.colleague(name) for name in ("gone", "unused"))
    gone.count(NOON, tokens=20)
    acme.count(NOON, tokens=1)
    for agent in (gone, unused):
        assert Api(client, acme).delete(f"agents/{agent.agent_id}").status_code == 204
    rows = opened(with_session(client, acme), "/agents?month=2026-04").table("Agents")
    assert [row[0] for row in rows] == ["gone deleted over 80 %", "builder"]
    assert "gone" in opened(client, f"/agents/{gone.agent_id}").text
    clock.now = datetime(2026, 5, 1, tzinfo=UTC)
    rows = opened(with_session(client, acme), "/agents?month=2026-05").table("Agents")
    assert [row[0] for row in rows] == ["builder"]


def test_says_whose_figures_it_shows_when_it_was_made_and_that_nothing_is_found(read: Read, acme: Agent) -> None:
    acme.count(NOON, tokens=12)
    for path in ("?days=7", "/agents", f"/agents/{acme.agent_id}"):
        header = " ".join(read(path).text.partition("Menu")[0].split())
        assert header.endswith("Skip to the content AgentIdP Acme as of 12:00 UTC")
    text = read("?days=7").text
    assert "Nothing unusual in the last 7 days." in text
    assert "No request was rejected." in text


class TestAnEmptyOrganization:
    """An empty organization sees instructions instead of empty charts."""

    def test_sees_commands_for_its_own_address_and_can_see_the_charts(self, read: Read, acme: Agent) -> None:
        page = read()
        assert page.all("svg") == page.all("table") == []
        assert page.all("h1") == [{}]
        commands = page.text.replace("\\\n", "")
        for command in (
            'curl -s "http://localhost:3000/api/v1/agents" -H "Authorization: Bearer $TOKEN"',
            'curl -s -X POST "http://localhost:3000/api/v1/agents/$AGENT/credentials"',
            'curl -s "http://localhost:3000/api/v1/token" -u "$AGENT:$SECRET" -d grant_type=client_credentials',
            f"agentidp agent create my-first-agent --organization {acme.organization_id}",
        ):
            assert command in commands
        assert "/dashboard?days=30" in page.links
        assert read("?days=30").tables["Tokens issued"][1][1] == "0"

    def test_sees_how_many_tokens_were_issued_until_its_only_agent_is_busy(self, read: Read, acme: Agent) -> None:
        assert "No token has been issued to your agents in the last 30 days." in read().text
        within = "been issued to your agents in the last 30 days."
        for tokens, sentence in ((1, "1 token has"), (9, "10 tokens have")):
            acme.count(NOON, tokens=tokens)
            assert f"{sentence} {within}" in read().text
        acme.count(NOON, tokens=1)
        assert len(read().tables) == 3

    def test_no_longer_once_another_agent_is_there_and_gets_tokens(self, read: Read, acme: Agent) -> None:
        acme.colleague("second")
        assert read().all("svg") == []
        acme.count(NOON, tokens=1)
        assert len(read().tables) == 3


def test_shows_nothing_of_another_organization(client: FlaskClient, cast: Cast, services: Services) -> None:
    acme, outsider = cast.acme, cast.outsider
    acme.count(NOON, tokens=12)
    outsider.count(NOON, tokens=76, requests=5)
    # A random id hardly has so many digits in a row.
    theirs = 76_543_210
    with psycopg.connect(str(services.settings.database_url)) as connection:
        connection.execute(
            "update agent_usage_daily set tokens = %s where organization_id = %s", [theirs, outsider.organization_id]
        )
    with_session(client, acme)
    for path in ("?days=30", "/agents?days=30", f"/agents/{acme.agent_id}?days=30"):
        query = f"&organization_id={outsider.organization_id}&tenantId=Outsider"
        response = client.get(f"/dashboard{path}{query}", headers={"X-Organization-Id": outsider.organization_id})
        assert response.status_code == 200
        for secret in ("Outsider", outsider.organization_id, outsider.client_id, f"{theirs:,}", f"{theirs}"):
            assert secret not in response.text
    with_session(client, outsider)
    assert f"{theirs:,}" in client.get("/dashboard/agents").text


def test_a_naughty_name_is_text_and_stays_in_its_place(client: FlaskClient, services: Services) -> None:
    name = "</title><script>alert(1)</script>\"'&amp;<img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}\u202eright\u2066"
    organization_id = make_organization(services, name)
    agent = make_agent(services, organization_id, name=name)
    other = make_agent(services, organization_id, name="other")
    agent.count(NOON, tokens=120)
    other.count(NOON, tokens=1)
    with_session(client, agent)
    for path in ("", "/agents", f"/agents/{agent.agent_id}"):
        response = client.get(f"/dashboard{path}")
        page = Page(response)
        assert [a.get("src") for a in page.all("script")] == [f"/dashboard/static/dashboard.js?v={version('.js')}"]
        assert page.all("img") == []
        # Every occurrence of the name is isolated, so that its writing direction ends with it.
        assert name in page.text
        escaped_name = str(escape(name))
        body = response.text.partition("<body>")[2].replace(f"<bdi>{escaped_name}</bdi>", "")
        isolated = f"\N{FIRST STRONG ISOLATE}{escaped_name}\N{POP DIRECTIONAL ISOLATE}"
        assert escaped_name not in body.replace(isolated, "")
    assert "of the 121 tokens" in opened(client).text


def test_an_agents_page_has_the_findings_that_it_is_behind_and_their_words_are_text(
    read: Read, acme: Agent, services: Services
) -> None:
    name, other = "a\"b'&amp;<i>", uuid.uuid4()
    behind = tuple(
        Contributor(agent_id=agent_id, agent_name=agent_name, count=count)
        for agent_id, agent_name, count in ((other, name, 9), (acme.agent_id, "builder", 7))
    )
    sentence = f"Of {name} and <i>{name}</i>, for {name}."
    make_findings(
        services,
        acme.organization_id,
        a_finding(NOON, kind="weekend", summary=sentence, agents=behind),
        a_finding(NOON, kind="quota", summary="Of the other.", agents=behind[:1]),
        a_finding(NOON, summary="Its own.", agent_id=acme.agent_id, agent_name="builder"),
        a_finding(NOON, kind="silence", summary="Nobody's."),
    )
    page = read(f"/agents/{acme.agent_id}")
    are_listed = [words in page.words for words in (sentence, "Its own.", "Of the other.", "Nobody's.")]
    assert are_listed == [True, True, False, False]
    assert f"Largest contributors {name} 9, builder 7" in page.words
    assert page.all("i") == []
    assert f"/dashboard/agents/{other}" in page.links


def test_says_which_kinds_were_not_computed_and_shows_the_others(
    read: Read, acme: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_agent = a_finding(NOON, summary="Its own.", agent_id=acme.agent_id, agent_name="builder")
    incomplete = replace(NOTHING, findings=[known_finding(of_agent)], not_computed=("dominance", "silence"))
    monkeypatch.setattr(page_findings, "read_callers_listing", lambda caller, days: incomplete)
    for path in ("?days=30", f"/agents/{acme.agent_id}"):
        text = read(path).text
        assert "because computing them took too long: large share, silence." in text
        assert "Its own." in text


NOTHING = Listing([], NOON, NOON.date() - timedelta(days=90), ())
"""The stored findings of an organization without findings."""


def version(ending: str) -> str:
    """Return the version of the asset whose name has this ending."""
    [name] = [name for name in pages.ASSETS.names if name.endswith(ending)]
    return pages.ASSETS.version(name)


def every_answer(client: FlaskClient, agent: Agent) -> Iterator[TestResponse]:
    """Yield pages of all kinds, with and without a session."""
    paths = (
        "",
        "?days=90",
        "/findings",
        "/agents",
        f"/agents/{agent.agent_id}",
        "/days/2026-04-14",
        "/days/2026-04-14?hour=9",
        f"/agents/{agent.agent_id}/days/2026-04-14",
        "/sign-in",
        "/nothing",
        "?days=8",
        "/agents?page=0",
    )
    for path in paths:
        yield client.get(f"/dashboard{path}")
    yield client.put("/dashboard")
    yield client.post("/dashboard/sign-in", headers={"Sec-Fetch-Site": "cross-site"})
    yield client.post("/dashboard/sign-in", headers=SAME_ORIGIN, data={"client_id": "a", "client_secret": "b"})
    yield client.post("/dashboard/sign-in", headers=SAME_ORIGIN, data={"token": "x" * 70_000})
    yield client.get("/dashboard/sign-in?token=x", headers={"Sec-Fetch-Site": "cross-site"})
    yield client.get("/dashboard/sign-in?token=x")
    client.delete_cookie("agentidp_session", path="/dashboard")
    for path in paths:
        yield client.get(f"/dashboard{path}")


def test_every_page_is_safe_and_sound(operator: FlaskClient, demo: Agent, client: FlaskClient, acme: Agent) -> None:
    answers = [*every_answer(operator, demo), with_session(client, acme).get("/dashboard")]
    assert {answer.status_code for answer in answers} == {200, 400, 401, 403, 404, 405, 413}
    for answer in answers:
        headers = answer.headers
        assert headers.getlist("Content-Security-Policy") == [POLICY]
        assert headers["Referrer-Policy"] == ("strict-origin" if "token=" in answer.request.url else "same-origin")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        page = Page(answer)
        # Checks that axe-core in tests/browser/test_accessibility.py does not make.
        assert len(page.tables) == len(page.all("table")) == len(page.all("caption"))
        assert {heading["scope"] for heading in page.all("th")} <= {"row", "col"}
        for drawn in page.all("svg"):
            is_named = (drawn.get("role"), bool(drawn.get("aria-label"))) == ("group", True)
            assert drawn.get("aria-hidden") == "true" or is_named
        for tag, attributes in page.elements:
            assert tag not in ("style", "base", "iframe", "object", "embed"), tag
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]
            for name in ("href", "src", "action"):
                address = attributes.get(name)
                assert address is None or re.match(r"/dashboard\b|/docs$|#[a-z]+$|#finding-", address), address
        assert [a for a in page.all("script") if "src" not in a] == []


@pytest.mark.parametrize("path", ["", "/agents", "/sign-in", "/sign-out", "/static/dashboard.js"])
def test_responses_without_a_page_are_as_safe(client: FlaskClient, path: str) -> None:
    response = client.options(f"/dashboard{path}")
    assert (response.status_code, response.data, "OPTIONS" in response.headers["Allow"]) == (200, b"", True)
    assert response.headers["Content-Security-Policy"] == POLICY
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.headers["Cache-Control"] == "no-store"


def test_assets_are_kept_for_good_under_their_version_and_briefly_otherwise(client: FlaskClient) -> None:
    for name, kind in (
        ("dashboard.css", "text/css"),
        ("dashboard.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ):
        address = f"/dashboard/static/{name}"
        response = client.get(f"{address}?v={pages.ASSETS.version(name)}")
        assert (response.status_code, response.mimetype) == (200, kind)
        assert response.data == (Path(pages.STATIC) / name).read_bytes()
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert client.get(f"{address}?v=other").headers["Cache-Control"] == "public, max-age=60"
    for name in ("..%2fpages.py", "pages.py", "base.html", ""):
        assert client.get(f"/dashboard/static/{name}").status_code == 404
    assert {file.name for file in pages.STATIC.iterdir()} == set(pages.ASSETS.names)


@pytest.mark.parametrize(
    ("path", "method", "status", "sentence"),
    [
        ("/dashboard/nothing", "GET", 404, "There is nothing at this address."),
        ("/dashboard/agents/no-uuid", "GET", 404, "There is nothing at this address."),
        ("/dashboard/agents?page=x", "GET", 400, "The page must be a whole number from 1 to 100000."),
        ("/dashboard", "DELETE", 405, "This address takes only GET, HEAD, OPTIONS."),
    ],
)
def test_an_error_is_a_page(signed_in: FlaskClient, path: str, method: str, status: int, sentence: str) -> None:
    response = signed_in.open(path, method=method, headers=SAME_ORIGIN)
    assert response.status_code == status
    assert sentence in Page(response).text
    # The title, which a screen reader says first, says so, and the focus is on the sentence.
    assert Page(response).words.startswith("Error: ")
    [notice] = [notice for notice in Page(response).all("p") if notice.get("role") == "alert"]
    assert "autofocus" in notice


def test_the_title_of_the_sign_in_page_names_an_error_but_not_a_missing_session(client: FlaskClient) -> None:
    paths = ("/dashboard/sign-in", "/dashboard", "/dashboard/sign-in?token=none")
    titles = [Page(client.get(path)).words.partition(" \N{MIDDLE DOT}")[0] for path in paths]
    assert titles == ["Sign in", "Sign in", "Error: Sign in"]


REFUSED = {
    "agents": [
        "sort=id",
        "sort=",
        "order=up",
        "unusual=yes",
        "status=gone",
        "search=%00",
        f"search={MAX_NAME * 'x'}x",
        f"owner={MAX_OWNER * 'x'}x",
        "owner=%00",
    ],
    "audit": ["action=agent.painted", "until=yesterday", "below=0", "below=x", "subject=%00", f"actor={MAX_ID * 'x'}x"],
    "findings": ["state=gone", "kind=none", "agent=%00", f"owner={MAX_OWNER * 'x'}x", "page=0"],
    "credentials": ["show=secret", "page=0"],
    "days/2026-04-14": ["by=name", "hour=24", "hour=-1", "hour=", "hour=01", "hour=x"],
    "days/2026-04-14/agents.csv": ["by=name", "hour=24"],
    "days.csv": ["days=91"],
    "agents.csv": ["sort=id"],
    "quotas": ["page=0", "show=used"],
}
"""Page -> parameters that the page refuses."""

MISSING = [
    *("days/2026-04-16", "days/2026-02-30", "days/x", "days/2026-04-16/hours.csv", "days/2026-04-16/agents.csv"),
    "quotas?page=2",
]


def test_an_unknown_parameter_is_refused_and_what_is_not_there_is_not_found(signed_in: FlaskClient) -> None:
    paths = [(f"{page}?{query}", 400) for page, queries in REFUSED.items() for query in queries]
    paths += [(path, 404) for path in MISSING]
    assert [path for path, status in paths if signed_in.get(f"/dashboard/{path}").status_code != status] == []


def test_an_error_elsewhere_is_json(client: FlaskClient) -> None:
    for path in ("/dashboards", "/api/v1/dashboard", "/dashboard.html"):
        response = client.get(path)
        assert (response.status_code, response.json["code"]) == (404, "NOT_FOUND")


def test_without_a_database_it_says_to_try_again(
    signed_in: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.database, "run_for_organization", unavailable)
    response = signed_in.get("/dashboard")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "The service is temporarily unavailable; try again." in Page(response).text
    assert "Set-Cookie" not in response.headers


def test_a_fault_of_ours_tells_nothing(wire: Wire, acme: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "build_days", lambda *_: 1 / 0)
    response = with_session(wire(), acme).get("/dashboard?days=30")
    assert response.status_code == 500
    text = Page(response).text
    assert "The server met an unexpected condition." in text
    assert "ZeroDivisionError" not in text


@pytest.mark.parametrize(
    ("path", "words"), [("?days=90", "<dt>Tokens today</dt>"), (f"/agents/{OPERATOR.name}", '<h2 id="about-title">')]
)
def test_what_needs_no_findings_is_sent_before_they_are_worked_out(
    operator: FlaskClient, demo: Agent, path: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(page_findings, "read_callers_listing", lambda caller, days: looks.append(days) or NOTHING)
    response = operator.get(demo_path(demo.services, f"/dashboard{path}"), buffered=False)
    parts = response.iter_encoded()
    first = next(parts).decode()
    assert looks == []
    rest = b"".join(parts).decode()
    response.close()
    assert len(looks) == 1
    assert "Demo organization" in first
    assert words in first
    assert "dashboard.css" in first
    assert 'id="findings"' not in first
    assert rest.endswith("</html>")
    assert pages.SLOW_PART not in first + rest
    # The server did not hold back the first part to compute the length of the page.
    assert "Content-Length" not in response.headers


def test_a_fault_of_ours_once_a_part_was_sent_is_shown_and_logged_and_leaves_no_whole_page(
    wire: Wire, demo: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(page_findings, "read_callers_listing", lambda caller, days: 1 / 0)
    response = with_session(wire(), demo).get("/dashboard", buffered=False)
    parts = response.iter_encoded()
    html = next(parts).decode() + next(parts).decode()
    with pytest.raises(ZeroDivisionError):
        next(parts)
    response.close()
    assert html.endswith(
        '<p class="notice" role="alert">The rest of the page could not be loaded. Reload the page.</p>'
    )
    [logged] = [record.fields for record in caplog.records if record.getMessage() == "unexpected error"]
    assert logged["error"] == "ZeroDivisionError"
    assert logged["request_id"]


NO_FINDINGS = "The findings are not available at the moment. The page tries again every minute."


def test_a_page_comes_without_findings_that_cannot_be_computed(
    read: Read, acme: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme.count(NOON, tokens=12)
    with monkeypatch.context() as patch:
        patch.setattr(store, "evaluate", unavailable)
        assert NO_FINDINGS in read().text
        assert NO_FINDINGS in read(f"/agents/{acme.client_id}").text
    complete = read()
    assert NO_FINDINGS not in complete.text
    # Stored findings are shown without another evaluation.
    monkeypatch.setattr(store, "evaluate", unavailable)
    assert read().tables == complete.tables


VIEWER = "dashboard/viewer"


@pytest.mark.parametrize(
    ("path", "round_trips"),
    [
        ("", 5),
        ("/agents", 3),
        ("/quotas", 2),
        (f"/agents/{OPERATOR.name}", 3),
        ("/days/2026-04-14", 2),
        (f"/agents/{OPERATOR.name}/days/2026-04-14", 2),
    ],
)
def test_asks_the_database_so_often_and_no_more(
    operator: FlaskClient, demo: Agent, path: str, round_trips: int
) -> None:
    path = demo_path(demo.services, path)
    opened(operator, path)
    with overheard(demo.services.database) as conversation:
        opened(operator, path)
    assert conversation.round_trips == round_trips


YESTERDAY = NOON.date() - timedelta(days=1)
TWIN = f"org-{uuid.UUID(int=2)}"
"""An organization whose agents have the same ids as the demo's."""

MAKE_TWIN = (
    "insert into organizations select %(twin)s, 'Twin', created_at, 1 from organizations "
    "where organization_id = %(demo)s",
    "insert into agents select (jsonb_populate_record(agents, jsonb_build_object('organization_id', %(twin)s::text, "
    "'name', 'twin of ' || name, 'scopes', array['analytics:read']))).* from agents where organization_id = %(demo)s",
    # All agents have tokens and rejections in every hour.
    """
    insert into agent_usage_daily
    select %(twin)s, day, agent_id, 0, 700, 700, 700, array_fill(29, array[24]), array_fill(29, array[24]),
        array_fill(29, array[24])
    from agents, generate_series(%(at)s::date - 120, %(at)s::date, interval '1 day') as day
    where organization_id = %(demo)s
    """,
    """
    insert into usage_daily
    select organization_id, day, 0, sum(tokens), array_fill(700, array[24]), array_fill(700, array[24]),
        array_fill(700, array[24])
    from agent_usage_daily
    where organization_id = %(twin)s
    group by organization_id, day
    """,
    "insert into revoked_tokens (organization_id, jti, expires_at) values (%(twin)s, 'one', %(at)s)",
    "insert into rejected_networks (organization_id, day, agent_id, network, reason, rejections) "
    "select %(twin)s, %(at)s::date, agent_id, '192.0.2.0/24', 'x', 3 from agents where organization_id = %(twin)s",
    "insert into credentials (organization_id, agent_id, credential_id, secret_hash, created_at, revoked_at) "
    "select %(twin)s, agent_id, gen_random_uuid(), sha256(''), %(at)s, %(at)s from agents "
    "where organization_id = %(demo)s",
)


KNOWN = {
    "organization_id": ORGANIZATION_ID,
    "agent_ids": None,
    "jti": "one",
    "signed_in_at": NOON,
    "on_day": YESTERDAY,
    "days": 90,
}
OF_FINDINGS = {
    call.name: call.parameters
    for question in (*KINDS.values(), markers)
    for call in [question.build_call(FindingsQuery(at=NOON, days=90, token_ttl=3600))]
}
EXAMPLES = [
    (name, example)
    for name in run_by("service")
    if name.startswith(("analytics/", "dashboard/", "findings/"))
    for example in range(len(header(name).examples or [{}]))
]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_each_statement_keeps_to_its_organization_also_past_row_level_security(
    demo: Agent, database_of: str, name: str, example: int
) -> None:
    with psycopg.connect(database_of) as connection:
        agent = OPERATOR if name == VIEWER else RETRYING
        agent_id = demo_ids(demo.services)[agent.name]
        values = KNOWN | {"agent_id": agent_id, "agent_ids": [agent_id]} | OF_FINDINGS.get(name, {})
        parameters = common_parameters(ORGANIZATION_ID, NOON) | values_of(connection, name, values, example)
        rows = connection.execute(load_sql(name), parameters).fetchall()
        for change in MAKE_TWIN:
            connection.execute(change, {"twin": TWIN, "demo": ORGANIZATION_ID, "at": NOON})
        # Compare sorted rows, because some statements do not sort, and more rows can change the order of groups.
        rows_beside_twin = connection.execute(load_sql(name), parameters).fetchall()
        assert sorted(map(repr, rows_beside_twin)) == sorted(map(repr, rows))
        rows_of_twin = connection.execute(load_sql(name), parameters | {"organization_id": TWIN}).fetchall()
        assert sorted(map(repr, rows_of_twin)) != sorted(map(repr, rows)) or not rows
        connection.rollback()


def test_the_address_may_end_with_a_slash(signed_in: FlaskClient) -> None:
    assert signed_in.get("/dashboard/").status_code == 200
