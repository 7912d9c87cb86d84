"""``GET /api/v1/analytics/agents``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from flask.testing import FlaskClient

from agentidp.services import Services
from tests.analytics.oracle import USAGE
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Clock, count_usage, make_agent
from tests.wire import overheard


@ON_CITUS_TOO
def test_returns_the_month_so_far_most_tokens_first_then_by_agent(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    organization_id = cast.acme.organization_id
    first, second, third = sorted(make_agent(services, organization_id, name).agent_id for name in "abc")
    for agent_id, at, tokens in (
        (third, NOON, 2),
        (first, datetime(2026, 4, 1, tzinfo=UTC), 2),
        (second, datetime(2026, 4, 15, 23, 59, 59, 999_999, tzinfo=UTC), 3),
        (second, datetime(2026, 4, 7, tzinfo=UTC), 1),
        # Excluded: the last day of the month before.
        (first, datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC), 9),
        # Excluded: the first day of the next month, as a server whose clock is ahead may have counted it.
        (first, datetime(2026, 5, 1, tzinfo=UTC), 9),
        # Excluded: tomorrow.
        (first, datetime(2026, 4, 16, tzinfo=UTC), 9),
        # Excluded: the same month of another year.
        (first, datetime(2025, 4, 10, tzinfo=UTC), 9),
    ):
        count_usage(services, organization_id, agent_id, at, tokens=tokens)
    # Excluded: requests, but no token.
    count_usage(services, organization_id, cast.acme.agent_id, NOON, requests=9)
    # Excluded: another organization's.
    count_usage(services, cast.outsider.organization_id, cast.outsider.agent_id, NOON, tokens=9)
    response = client.get(USAGE, headers=cast.acme.bearer())
    assert response.status_code == 200
    assert response.json == {
        "tenantId": organization_id,
        "month": "2026-04",
        "data": [
            {"agentId": str(second), "tokenCount": 4},
            {"agentId": str(first), "tokenCount": 2},
            {"agentId": str(third), "tokenCount": 2},
        ],
    }


def test_equal_counts_are_ordered_by_agent_in_a_large_fleet(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    organization_id, random = cast.acme.organization_id, Random(7)
    fleet = []
    for number in range(60):
        agent_id, tokens = make_agent(services, organization_id, f"agent {number}").agent_id, random.randint(1, 3)
        count_usage(services, organization_id, agent_id, NOON, tokens=tokens)
        fleet.append((agent_id, tokens))
    assert client.get(USAGE, headers=cast.acme.bearer()).json["data"] == [
        {"agentId": str(agent_id), "tokenCount": tokens}
        for agent_id, tokens in sorted(fleet, key=lambda pair: (-pair[1], pair[0]))
    ]


@pytest.mark.parametrize(
    ("now", "month", "count"),
    [
        (datetime(2023, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "2023-12", 1),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01", 2),
        (datetime(2024, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC), "2024-01", 2),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), "2024-02", 4),
        (datetime(2024, 3, 1, tzinfo=UTC), "2024-03", None),
    ],
)
def test_begins_again_with_each_month(
    client: FlaskClient, services: Services, clock: Clock, cast: Cast, now: datetime, month: str, count: int | None
) -> None:
    acme = cast.acme
    for at, tokens in (
        (datetime(2023, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 1),
        (datetime(2024, 1, 1, tzinfo=UTC), 2),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), 4),
    ):
        count_usage(services, acme.organization_id, acme.agent_id, at, tokens=tokens)
    clock.now = now
    assert client.get(USAGE, headers=acme.bearer()).json == {
        "tenantId": acme.organization_id,
        "month": month,
        "data": [] if count is None else [{"agentId": acme.client_id, "tokenCount": count}],
    }


def test_still_shows_an_agent_that_was_suspended_or_deleted(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    organization_id = cast.acme.organization_id
    deleted, suspended = (make_agent(services, organization_id, name) for name in ("deleted", "suspended"))
    for agent, tokens in ((deleted, 2), (suspended, 1)):
        count_usage(services, organization_id, agent.agent_id, NOON, tokens=tokens)
    bearer = cast.acme.bearer()
    assert client.delete(f"/api/v1/agents/{deleted.client_id}", headers=bearer).status_code == 204
    answer = client.patch(f"/api/v1/agents/{suspended.client_id}", json={"status": "suspended"}, headers=bearer)
    assert answer.status_code == 200
    assert client.get(USAGE, headers=bearer).json == {
        "tenantId": organization_id,
        "month": "2026-04",
        "data": [
            {"agentId": deleted.client_id, "tokenCount": 2},
            {"agentId": suspended.client_id, "tokenCount": 1},
        ],
    }


def test_a_token_is_in_the_next_answer(client: FlaskClient, cast: Cast) -> None:
    acme = cast.acme
    assert client.get(USAGE, headers=acme.bearer()).get_data() == (
        f'{{"tenantId":"{acme.organization_id}","month":"2026-04","data":[]}}'.encode()
    )
    for count in (1, 2):
        form = {"grant_type": "client_credentials"}
        issued = client.post("/api/v1/token", data=form, auth=(acme.client_id, acme.client_secret))
        bearer = {"Authorization": f"Bearer {issued.json['access_token']}"}
        assert client.get(USAGE, headers=bearer).json["data"] == [{"agentId": acme.client_id, "tokenCount": count}]


@ON_CITUS_TOO
def test_a_denied_request_is_not_a_token(client: FlaskClient, cast: Cast) -> None:
    acme = cast.acme
    for form, secret, status in (
        ({"grant_type": "client_credentials"}, "wrong", 401),
        ({"grant_type": "client_credentials", "scope": "unknown"}, acme.client_secret, 400),
        ({"grant_type": "password"}, acme.client_secret, 400),
    ):
        assert client.post("/api/v1/token", data=form, auth=(acme.client_id, secret)).status_code == status
    assert client.get(USAGE, headers=acme.bearer()).json["data"] == []


@COMPARES_STATEMENTS
def test_is_one_round_trip_of_three_statements(client: FlaskClient, services: Services, cast: Cast) -> None:
    bearer = cast.acme.bearer()
    with overheard(services.database) as conversation:
        assert client.get(USAGE, headers=bearer).status_code == 200
    assert conversation.statements == [
        "database/enter_organization",
        "analytics/agent_usage",
        "usage/record_request",
    ]
    assert conversation.round_trips == 1


def test_includes_the_names_where_they_are_asked_for(client: FlaskClient, services: Services, cast: Cast) -> None:
    organization_id = cast.acme.organization_id
    first, second, deleted = (make_agent(services, organization_id, name) for name in ('zoë, "1"', "=2", "gone"))
    for agent, at, tokens in (
        (first, datetime(2026, 4, 1, tzinfo=UTC), 1),
        (first, datetime(2026, 4, 15, 23, 59, 59, 999_999, tzinfo=UTC), 4),
        (second, NOON, 2),
        (deleted, NOON, 3),
        # Excluded: the months before and after.
        (second, datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC), 9),
        (cast.acme, datetime(2026, 5, 1, tzinfo=UTC), 9),
    ):
        count_usage(services, organization_id, agent.agent_id, at, tokens=tokens)
    # Excluded: another organization's.
    count_usage(services, cast.outsider.organization_id, cast.outsider.agent_id, NOON, tokens=7)
    bearer = cast.acme.bearer()
    assert client.delete(f"/api/v1/agents/{deleted.client_id}", headers=bearer).status_code == 204
    assert client.get(f"{USAGE}?include=name", headers=bearer).json == {
        "tenantId": organization_id,
        "month": "2026-04",
        "data": [
            {"agentId": first.client_id, "tokenCount": 5, "agentName": 'zoë, "1"'},
            {"agentId": deleted.client_id, "tokenCount": 3, "agentName": "gone"},
            {"agentId": second.client_id, "tokenCount": 2, "agentName": "=2"},
        ],
    }


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        *(
            (f"include={value}", "must be a comma-separated list of name")
            for value in ("", "names", "NAME", "name,", "name,name", "name,x", "%20name", "name%00", "%ff", "agentName")
        ),
        ("include=name&include=name", "must be given once only"),
    ],
)
def test_refuses_to_include_anything_else(shared_client: FlaskClient, shared_cast: Cast, query: str, rule: str) -> None:
    response = shared_client.get(f"{USAGE}?{query}", headers=shared_cast.acme.bearer())
    assert (response.status_code, response.json) == (
        400,
        {"code": "VALIDATION_ERROR", "message": "The request is not valid.", "details": {"include": [rule]}},
    )


@pytest.mark.parametrize("month", ["2026-02-28", "2026-03-01", "2024-02-29", "2026-12-31"])
def test_names_the_agents_of_the_same_counts(
    client: FlaskClient, services: Services, cast: Cast, clock: Clock, month: str
) -> None:
    clock.now = datetime.fromisoformat(f"{month}T23:59:59.999999Z")
    random = Random(month)
    agents = [make_agent(services, cast.acme.organization_id, f"agent {number}") for number in range(5)]
    count_usage(services, cast.acme.organization_id, agents[0].agent_id, clock.now, tokens=1)
    for _ in range(30):
        at = clock.now - timedelta(days=random.randrange(70))
        count_usage(services, cast.acme.organization_id, random.choice(agents).agent_id, at, tokens=random.randrange(3))
    bearer = cast.acme.bearer()
    plain, named = (client.get(USAGE + query, headers=bearer).json for query in ("", "?include=name"))
    names = {agent.client_id: f"agent {number}" for number, agent in enumerate(agents)}
    assert named == plain | {"data": [item | {"agentName": names[item["agentId"]]} for item in plain["data"]]}
    assert plain["data"]


@COMPARES_STATEMENTS
def test_with_names_is_one_round_trip_of_three_statements(client: FlaskClient, services: Services, cast: Cast) -> None:
    bearer = cast.acme.bearer()
    with overheard(services.database) as conversation:
        assert client.get(f"{USAGE}?include=name", headers=bearer).status_code == 200
    assert conversation.statements == [
        "database/enter_organization",
        "analytics/agent_usage",
        "usage/record_request",
    ]
    assert conversation.round_trips == 1


@ON_CITUS_TOO
def test_returns_a_past_month_whole(client: FlaskClient, services: Services, cast: Cast) -> None:
    acme = cast.acme
    for at, tokens in (
        (datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC), 100),
        (datetime(2026, 2, 1, tzinfo=UTC), 1),
        (datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC), 2),
        (datetime(2026, 3, 1, tzinfo=UTC), 200),
        (NOON, 400),
    ):
        count_usage(services, acme.organization_id, acme.agent_id, at, tokens=tokens)
    count_usage(services, cast.outsider.organization_id, cast.outsider.agent_id, NOON - timedelta(days=60), tokens=9)
    counts = {
        month: client.get(f"{USAGE}?month={month}&include=name", headers=acme.bearer()).json
        for month in ("2025-12", "2026-01", "2026-02", "2026-03", "2026-04")
    }
    assert counts == {
        month: {
            "tenantId": acme.organization_id,
            "month": month,
            "data": [{"agentId": acme.client_id, "tokenCount": tokens, "agentName": "builder"}] if tokens else [],
        }
        for month, tokens in zip(counts, (0, 100, 3, 200, 400), strict=True)
    }


def test_the_current_month_is_the_default(client: FlaskClient, services: Services, cast: Cast) -> None:
    acme = cast.acme
    count_usage(services, acme.organization_id, acme.agent_id, NOON, tokens=4)
    default, asked = (client.get(USAGE + query, headers=acme.bearer()) for query in ("", "?month=2026-04"))
    assert asked.data == default.data
    assert asked.headers["ETag"] == default.headers["ETag"]
    as_csv = client.get(f"{USAGE}?month=2026-04", headers=acme.bearer() | {"Accept": "text/csv"})
    assert as_csv.data == f"agentId,tokenCount\r\n{acme.client_id},4\r\n".encode()


@pytest.mark.parametrize(
    "value",
    ["", "2026", "2026-4", "2026-00", "2026-13", "2026-04-01", "1999-12", "26-04", "2026-04%00", "%202026-04", "april",
     "2026-05", "2999-12", "%D9%A2026-04"],
)  # fmt: skip
def test_refuses_what_is_no_month_and_a_future_one(shared_client: FlaskClient, shared_cast: Cast, value: str) -> None:
    response = shared_client.get(f"{USAGE}?month={value}", headers=shared_cast.acme.bearer())
    rule = "must be a month as YYYY-MM, from 2000-01 to the current one in UTC"
    assert (response.status_code, response.json) == (
        400,
        {"code": "VALIDATION_ERROR", "message": "The request is not valid.", "details": {"month": [rule]}},
    )


@pytest.mark.parametrize(
    ("now", "last"), [("2026-04-30T23:59:59.999999Z", "2026-04"), ("2026-05-01T00:00:00Z", "2026-05")]
)
def test_a_month_begins_at_midnight_utc(client: FlaskClient, cast: Cast, clock: Clock, now: str, last: str) -> None:
    clock.now = datetime.fromisoformat(now)
    bearer = cast.acme.bearer()
    answers = {month: client.get(f"{USAGE}?month={month}", headers=bearer) for month in ("2026-04", "2026-05")}
    assert [month for month, answer in answers.items() if answer.status_code == 200][-1] == last
    assert client.get(USAGE, headers=bearer).json["month"] == last


@pytest.mark.parametrize("month", ["2000-01", "2024-12"])
def test_a_month_before_everything_is_empty(shared_client: FlaskClient, shared_cast: Cast, month: str) -> None:
    response = shared_client.get(f"{USAGE}?month={month}", headers=shared_cast.acme.bearer())
    assert response.json == {"tenantId": shared_cast.acme.organization_id, "month": month, "data": []}
