"""What the token endpoint does about quotas. That they are exact under concurrency is in ``tests/test_quotas.py``."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import http_sf
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.oauth.quota_windows import WINDOWS, find_window_bounds
from agentidp.usage_history.importing import import_usage
from agentidp.usage_history.records import Source
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Agent, Api, Clock
from tests.helpers.quotas import ask, put
from tests.oauth.clients import COMMON, FAILED, process, whole
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]


def statuses(client: FlaskClient, *agents: Agent) -> list[int]:
    """Return the statuses of token requests of the agents, one after the other."""
    return [ask(client, agent).status_code for agent in agents]


def quotas_of(client: FlaskClient, agent: Agent) -> list[dict[str, Any]]:
    """Return the quotas of an agent in the form of the API."""
    return list(Api(client, agent).get(f"agents/{agent.client_id}/quotas").json["data"])


def refused(whose: str, tokens: int, window: str, ends: str) -> dict[str, str]:
    """Return the body of a refusal."""
    return {
        "error": "temporarily_unavailable",
        "error_description": f"the {whose}'s quota of {tokens} tokens per {window} has been used; "
        f"the next {window} begins at {ends}",
    }


def limits(response: TestResponse) -> dict[str, dict[str, dict[str, int]]]:
    """Return the parameters in the two headers (structured fields), by header and policy."""
    return {
        name: dict(http_sf.parse(response.headers[name].encode(), tltype="list"))
        for name in ("RateLimit-Policy", "RateLimit")
        if name in response.headers
    }


@ON_CITUS_TOO
def test_of_n_tokens_the_nth_is_issued_and_none_after_it(client: FlaskClient, cast: Cast) -> None:
    agent = cast.acme
    put(client, agent, "day", 3)
    assert statuses(client, *[agent] * 5) == [200, 200, 200, 429, 429]
    assert quotas_of(client, agent) == [
        {
            "window": "day",
            "tokens": 3,
            "enforce": True,
            "used": 3,
            "left": 0,
            "refused": 2,
            "observed": 0,
            "startsAt": "2026-04-15T00:00:00.000000Z",
            "endsAt": "2026-04-16T00:00:00.000000Z",
        }
    ]
    sums = agent.sums()
    assert {sums[name] for name in sums if "token" in name} == {3}
    assert {sums[name] for name in sums if "rejected" in name} == {0}


def test_a_refusal_says_which_quota_and_when_it_ends(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    clock.now = NOON + timedelta(milliseconds=100)
    put(client, cast.acme, "day", 1)
    assert ask(client, cast.acme).status_code == 200
    headers = {"RateLimit-Policy": '"agent-day";q=1;w=86400', "RateLimit": '"agent-day";r=0;t=43200'}
    # One more than half a day has full seconds.
    headers |= COMMON | {"Retry-After": "43200"}
    body = refused("agent", 1, "day", "2026-04-16T00:00:00Z")
    assert whole(ask(client, cast.acme)) == (429, body, headers)


@ON_CITUS_TOO
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_quota_begins_anew_with_its_window(
    client: FlaskClient, cast: Cast, clock: Clock, window: str, own: bool
) -> None:
    clock.now = datetime(2026, 12, 31, 23, 59, 59, 900_000, tzinfo=UTC)
    put(client, cast.acme, window, 2, own=own)
    assert statuses(client, *[cast.acme] * 3) == [200, 200, 429]
    assert ask(client, cast.acme).headers["Retry-After"] == "1"
    clock.advance(seconds=0.1)
    assert statuses(client, *[cast.acme] * 3) == [200, 200, 429]
    # A server whose clock is behind goes on in the old window, which is at its end.
    clock.advance(seconds=-30)
    assert ask(client, cast.acme).status_code == 429


@ON_CITUS_TOO
@pytest.mark.parametrize("own", [True, False])
def test_a_months_quota_counts_all_of_its_days_whatever_their_order(
    client: FlaskClient, cast: Cast, clock: Clock, own: bool
) -> None:
    put(client, cast.acme, "month", 7, own=own)
    response_statuses = []
    for day in (14, 15, 14, 30, 1, 15, 2, 3, 14):
        clock.now = NOON.replace(day=day)
        response_statuses += statuses(client, cast.acme)
    assert response_statuses == [200] * 7 + [429] * 2
    clock.now = datetime(2026, 5, 1, tzinfo=UTC)
    assert ask(client, cast.acme).status_code == 200
    # Back in the month before, by a server that was suspended for long.
    clock.now = datetime(2026, 4, 30, 23, 59, tzinfo=UTC)
    assert ask(client, cast.acme).status_code == 429


@ON_CITUS_TOO
@pytest.mark.parametrize("own", [True, False])
def test_a_months_quota_that_only_observes_is_summed_again_on_another_day(
    client: FlaskClient, cast: Cast, clock: Clock, own: bool
) -> None:
    put(client, cast.acme, "month", 1000, enforce=False, own=own)
    clock.advance(days=1)
    assert statuses(client, *[cast.acme] * 2) == [200, 200]


@ON_CITUS_TOO
def test_the_organizations_quota_is_of_all_its_agents(client: FlaskClient, cast: Cast) -> None:
    other = cast.acme.colleague()
    put(client, cast.acme, "month", 3, own=False)
    assert statuses(client, cast.acme, other, other, other, cast.acme) == [200] * 3 + [429] * 2
    response = ask(client, other)
    assert response.json == refused("organization", 3, "month", "2026-05-01T00:00:00Z")
    assert limits(response) == {
        "RateLimit-Policy": {"organization-month": {"q": 3, "w": 30 * 86_400}},
        "RateLimit": {"organization-month": {"r": 0, "t": 15 * 86_400 + 43_200}},
    }
    assert ask(client, cast.outsider).status_code == 200
    [quota] = Api(client, cast.acme).get("quotas").json["data"]
    assert (quota["used"], quota["left"], quota["refused"]) == (3, 0, 3)


def test_a_token_that_several_quotas_refuse_is_refused_by_the_one_that_ends_last(
    client: FlaskClient, cast: Cast
) -> None:
    for window in WINDOWS:
        put(client, cast.acme, window, 1)
    put(client, cast.acme, "day", 1, own=False)
    assert ask(client, cast.acme).status_code == 200
    own = f"agents/{cast.acme.client_id}/quotas"
    for address, whose, window, ends in (
        (f"{own}/month", "agent", "month", "2026-05-01T00:00:00Z"),
        (f"{own}/day", "agent", "day", "2026-04-16T00:00:00Z"),
        ("quotas/day", "organization", "day", "2026-04-16T00:00:00Z"),
        (f"{own}/hour", "agent", "hour", "2026-04-15T13:00:00Z"),
    ):
        assert ask(client, cast.acme).json == refused(whose, 1, window, ends)
        # From the next token on it counts no more.
        assert Api(client, cast.acme).delete(address).status_code == 204
    assert ask(client, cast.acme).status_code == 200


def test_an_enforced_quota_refuses_although_one_that_only_observes_ends_later(client: FlaskClient, cast: Cast) -> None:
    put(client, cast.acme, "month", 1, enforce=False)
    put(client, cast.acme, "hour", 1)
    assert ask(client, cast.acme).status_code == 200
    response = ask(client, cast.acme)
    assert (response.status_code, response.json) == (429, refused("agent", 1, "hour", "2026-04-15T13:00:00Z"))
    assert [(quota["window"], quota["refused"], quota["observed"]) for quota in quotas_of(client, cast.acme)] == [
        ("hour", 1, 0),
        ("month", 0, 0),
    ]


def test_usage_that_is_imported_counts_at_once(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    put(client, cast.acme, "month", 5)
    # The sum of the month's other days is kept from here on.
    assert ask(client, cast.acme).status_code == 200
    file = f"time,agent,tokens\n2026-04-01T00:00:00Z,{cast.acme.client_id},3\n"
    source = Source(io.BytesIO(file.encode()))
    import_usage(cast.acme.database_url, cast.acme.organization_id, source, file_format="csv", at=clock())
    assert statuses(client, *[cast.acme] * 2) == [200, 429]


def test_each_token_says_what_is_left_of_the_quotas_that_are_enforced(client: FlaskClient, cast: Cast) -> None:
    assert limits(ask(client, cast.acme)) == {}
    put(client, cast.acme, "hour", 10)
    put(client, cast.acme, "month", 20, own=False)
    put(client, cast.acme, "day", 100, enforce=False)
    assert limits(ask(client, cast.acme)) == {
        "RateLimit-Policy": {"organization-month": {"q": 20, "w": 30 * 86_400}, "agent-hour": {"q": 10, "w": 3600}},
        "RateLimit": {"organization-month": {"r": 18, "t": 15 * 86_400 + 43_200}, "agent-hour": {"r": 8, "t": 3600}},
    }


@ON_CITUS_TOO
def test_a_quota_that_is_not_enforced_counts_what_it_would_have_refused(client: FlaskClient, cast: Cast) -> None:
    put(client, cast.acme, "day", 2, enforce=False)
    responses = [ask(client, cast.acme) for _ in range(5)]
    assert [response.status_code for response in responses] == [200] * 5
    assert all(limits(response) == {} for response in responses)
    [quota] = quotas_of(client, cast.acme)
    assert (quota["used"], quota["left"], quota["refused"], quota["observed"]) == (5, 0, 0, 3)
    # Enforced, it refuses from now on.
    put(client, cast.acme, "day", 2)
    assert ask(client, cast.acme).status_code == 429


def test_a_request_that_fails_for_another_reason_is_no_refusal_by_a_quota(client: FlaskClient, cast: Cast) -> None:
    put(client, cast.acme, "day", 1)
    assert statuses(client, *[cast.acme] * 2) == [200, 429]
    assert ask(client, cast.acme, scope="nothing").json["error"] == "invalid_scope"
    # Nobody who fails to authenticate learns of a quota.
    assert whole(ask(client, cast.acme, client_secret="wrong")) == FAILED
    [quota] = quotas_of(client, cast.acme)
    assert quota["refused"] == 1


@pytest.mark.parametrize(
    ("window", "at", "begins", "ends"),
    [
        ("hour", "2026-04-15T12:00:00", "2026-04-15T12:00:00", "2026-04-15T13:00:00"),
        ("hour", "2026-12-31T23:59:59.999999", "2026-12-31T23:00:00", "2027-01-01T00:00:00"),
        ("day", "2028-02-29T00:00:00", "2028-02-29T00:00:00", "2028-03-01T00:00:00"),
        ("month", "2028-02-29T23:59:59", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        ("month", "2026-12-01T00:00:00", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_the_bounds_of_a_window(window: str, at: str, begins: str, ends: str) -> None:
    expected = tuple(datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (begins, ends))
    assert find_window_bounds(window, datetime.fromisoformat(at).replace(tzinfo=UTC)) == expected


def test_a_process_issues_only_so_many_tokens_a_minute_to_an_agent(cast: Cast, database_url: str, clock: Clock) -> None:
    clock.now = NOON + timedelta(seconds=20.5)
    with process(database_url, clock, tokens_per_agent_and_minute=2) as client:
        assert statuses(client, *[cast.acme] * 2) == [200, 200]
        error = {
            "error": "temporarily_unavailable",
            "error_description": "a process of the server issues at most 2 tokens per minute to an agent",
        }
        assert whole(ask(client, cast.acme)) == (429, error, COMMON | {"Retry-After": "40"})
        # Whoever has not proved to be the agent learns nothing.
        assert whole(ask(client, cast.acme, client_secret="wrong")) == FAILED
        assert ask(client, cast.outsider).status_code == 200
        clock.advance(seconds=39.5)
        assert ask(client, cast.acme).status_code == 200


def test_the_limit_of_a_process_can_be_turned_off(cast: Cast, database_url: str, clock: Clock) -> None:
    with process(database_url, clock, tokens_per_agent_and_minute=0) as client:
        assert statuses(client, *[cast.acme] * 3) == [200] * 3
        rate = client.application.extensions["agentidp"].token_rate
        assert rate.get_seconds_to_wait(cast.acme.agent_id, None, clock()) is None


@ON_CITUS_TOO
def test_the_usage_by_day_has_what_was_refused(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    put(client, cast.acme, "hour", 1)
    for hour in (1, 23, 25):
        clock.now = NOON.replace(hour=0) + timedelta(hours=hour)
        assert statuses(client, *[cast.acme] * 3) == [200, 429, 429]
    data = Api(client, cast.acme).get("analytics/usage", days=3).json["data"]
    assert [(day["date"], day["tokens"], day["rejected"], day["refused"]) for day in data] == [
        ("2026-04-14", 0, 0, 0),
        ("2026-04-15", 2, 0, 4),
        ("2026-04-16", 1, 0, 2),
    ]
    theirs = Api(client, cast.outsider).get("analytics/usage", days=3).json["data"]
    assert {day["refused"] for day in theirs} == {0}
