"""``…/impact``: what breaks if something is revoked, suspended or deleted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.analytics.impact import HOURS, AgentTokens, Impact, Issued, find_quietest_hours
from agentidp.registry.credentials import add_credential, end_credential
from agentidp.registry.resource_servers import remove_resource_server, update_resource_server
from agentidp.services import Services
from agentidp.usage_history.adding import add_usage, compute_hour_number
from tests.analytics.conftest import API, ask
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Clock, count_delegation, database_of, execute, make_agent, make_grant

OTHER = "https://other.example"


@pytest.mark.parametrize(
    ("tokens", "first"),
    [
        ({30: 1, 31: 0, 32: 2}, 30),
        # On Saturday and Sunday.
        ({HOURS - 1: 0, 0: 0, 1: 1}, HOURS - 1),
        # In the middle of the quietest half a day.
        (dict.fromkeys((*range(100, 113), *range(40, 44)), 0), 105),
        (dict.fromkeys(range(HOURS), 0), 0),
    ],
)
def test_the_quietest_hours_have_the_fewest_tokens(tokens: dict[int, int], first: int) -> None:
    assert find_quietest_hours([tokens.get(hour, 5) for hour in range(HOURS)]) == first


AT = datetime(2026, 4, 15, 12, 30, tzinfo=UTC)
AT_11_45 = AT - timedelta(minutes=45)


@pytest.mark.parametrize(
    ("hours", "ttl", "last_used_at", "expected"),
    [
        ((10, 11, 12), 30 * 60, None, (10, AT + timedelta(minutes=30))),
        ((10, 11, 12), 30 * 60 + 1, None, (20, AT + timedelta(seconds=30 * 60 + 1))),
        ((10, 11, 12), 90 * 60, None, (20, AT + timedelta(minutes=90))),
        ((10, 11, 12), 90 * 60 + 1, None, (30, AT + timedelta(seconds=90 * 60 + 1))),
        # The last token expires a lifetime after the last use, or after the last hour if nothing more is stored.
        ((11,), 3600, AT_11_45, (10, AT_11_45 + timedelta(minutes=61))),
        ((11,), 1800, AT_11_45, (0, None)),
        ((11,), 3600, None, (10, AT + timedelta(minutes=30))),
        ((), 3600, None, (0, None)),
    ],
)
def test_how_many_tokens_may_be_valid(
    hours: tuple[int, ...], ttl: int, last_used_at: datetime | None, expected: tuple[int, datetime | None]
) -> None:
    issued = Issued({(datetime(2026, 4, 15, hour, tzinfo=UTC), ttl): 10 for hour in hours})
    at_most, until = expected
    assert Impact(issued, AT, last_used_at).valid_tokens == {"atMost": at_most, "until": until}


def test_the_first_hour_of_a_week_is_that_of_sunday() -> None:
    sunday, saturday = datetime(2026, 4, 12, tzinfo=UTC), datetime(2026, 4, 18, 23, tzinfo=UTC)
    busy = {(sunday + timedelta(hours=hour), 60): 1 for hour in range(HOURS)}
    impact = Impact(Issued(busy | {(sunday, 60): 0, (saturday, 60): 0}), AT)
    assert impact.quietest_hours == {"dow": 6, "hour": 22, "hours": 3, "tokens": 1}
    assert (impact.tokens, impact.last_hour) == (HOURS - 2, saturday - timedelta(hours=1))


@pytest.mark.parametrize(
    ("agent_count", "end"),
    [(5, "agent-4 (1 token, the last on 2026-04-15)."), (6, " and 1 more agent."), (7, " and 2 more agents.")],
)
def test_a_sentence_names_at_most_five_agents(agent_count: int, end: str) -> None:
    agents = [AgentTokens(UUID(int=number), f"agent-{number}", 1, AT.date()) for number in range(agent_count)]
    assert Impact(Issued(), AT, receiving_agents=agents).summary[1].endswith(end)


def read_impact(client: FlaskClient, cast: Cast, path: str) -> Any:
    return ask(client, cast, f"{path}/impact")


@ON_CITUS_TOO
def test_of_a_credential_an_agent_and_a_resource_server(
    client: FlaskClient, services: Services, cast: Cast, clock: Clock, api: UUID
) -> None:
    agent = make_agent(services, cast.acme.organization_id, "worker", ["analytics:read", "invoices:read"])
    [old] = agent.credential_ids()
    with database_of(services, agent.organization_id).transaction() as opened:
        new, new_secret = add_credential(opened, agent.agent_id, label="deploy", expires_at=None)
    assert new_secret is not None
    # Excluded: the day before the 90.
    clock.now = datetime(2026, 1, 15, 23, 59, 59, tzinfo=UTC)
    agent.get_tokens(client, 4)
    clock.now = datetime(2026, 1, 16, tzinfo=UTC)
    agent.get_tokens(client, 2, resource=API)
    clock.now = datetime(2026, 4, 15, 11, 40, tzinfo=UTC)
    agent.get_tokens(client, 3)
    agent.get_tokens(client, 5, client_secret=new_secret)
    clock.now = NOON
    quietest_hours = {"dow": 0, "hour": 0, "hours": 3, "tokens": 0}
    assert read_impact(client, cast, f"agents/{agent.agent_id}/credentials/{old}") == {
        "credentialId": str(old),
        "agentId": agent.client_id,
        "days": 90,
        "tokens": 5,
        "lastTokenHour": "2026-04-15T11:00:00.000000Z",
        "validTokens": {"atMost": 3, "until": "2026-04-15T12:41:00.000000Z"},
        "quietestHours": quietest_hours,
        "summary": [
            "5 tokens in the last 90 days, the last one at 2026-04-15 11:40 UTC.",
            "The agent has another credential in use: deploy, last used at 2026-04-15 11:40 UTC.",
            "At most 3 tokens may still be valid, until 2026-04-15 12:41 UTC.",
            "Revoking the credential does not end them. You can also end all tokens of the agent.",
            "The quietest hours of the week begin on Sunday at 00:00 UTC: 0 tokens in 3 hours, in all weeks together.",
        ],
        "lastUsedAt": "2026-04-15T11:40:00.000000Z",
        "otherCredentials": [
            {
                "credentialId": str(new.credential_id),
                "label": "deploy",
                "lastUsedAt": "2026-04-15T11:40:00.000000Z",
            }
        ],
    }
    # Imported: not attributed.
    with database_of(services, agent.organization_id).transaction() as opened:
        add_usage(opened, {agent.agent_id: {compute_hour_number(date(2026, 4, 14), 3): [7, 7, 0]}})
    desk, planner = (make_agent(services, cast.acme.organization_id, name) for name in ("desk", "planner"))
    for actor, subject, at, tokens, resource in (
        (desk, agent, datetime(2026, 1, 16, tzinfo=UTC), 3, API),
        (desk, agent, datetime(2026, 4, 14, tzinfo=UTC), 2, API),
        (desk, agent, datetime(2026, 4, 13, tzinfo=UTC), 1, OTHER),
        (planner, agent, NOON, 7, API),
        # Excluded: the day before the 90, and what the agent does itself.
        (desk, agent, datetime(2026, 1, 15, 23, 59, 59, tzinfo=UTC), 9, API),
        (agent, planner, NOON, 9, API),
        (agent, agent, NOON, 9, API),
    ):
        count_delegation(actor, subject, at, tokens, resource)
    make_grant(agent, resource=API)
    make_grant(agent, resource=OTHER)
    # Excluded: a grant to another agent, of another organization, and one that has expired.
    make_grant(desk, resource=OTHER)
    make_grant(cast.outsider, resource=API)
    expired = make_grant(agent, resource=API)
    execute(agent.database_url, "update grants set expires_at = %s where grant_id = %s", NOON, expired)
    body = read_impact(client, cast, f"agents/{agent.agent_id}")
    assert body.pop("summary")[:3] == [
        "17 tokens in the last 90 days, the last one in the hour of 2026-04-15 11:00 UTC.",
        "Other agents can no longer act for it: planner (7 tokens, the last on 2026-04-15), desk (6 tokens, the last "
        "on 2026-04-14).",
        "2 grants of people give no more tokens.",
    ]
    assert body == {
        "agentId": agent.client_id,
        "days": 90,
        "tokens": 17,
        "lastTokenHour": "2026-04-15T11:00:00.000000Z",
        "validTokens": {"atMost": 8, "until": "2026-04-15T13:00:00.000000Z"},
        "quietestHours": quietest_hours,
        "actingAgents": [
            {"agentId": planner.client_id, "agentName": "planner", "tokens": 7, "lastTokenDay": "2026-04-15"},
            {"agentId": desk.client_id, "agentName": "desk", "tokens": 6, "lastTokenDay": "2026-04-14"},
        ],
        "grants": 2,
    }
    body = read_impact(client, cast, f"resource-servers/{api}")
    assert body.pop("summary") == [
        "2 tokens in the last 90 days, the last one in the hour of 2026-01-16 00:00 UTC.",
        "They were issued to worker (2 tokens, the last on 2026-01-16).",
        "1 grant of people gives no more tokens.",
        "None of them is still valid.",
        "The quietest hours of the week begin on Sunday at 00:00 UTC: 0 tokens in 3 hours, in all weeks together.",
    ]
    assert body == {
        "resourceServerId": str(api),
        "resource": API,
        "days": 90,
        "tokens": 2,
        "lastTokenHour": "2026-01-16T00:00:00.000000Z",
        "validTokens": {"atMost": 0, "until": None},
        "quietestHours": quietest_hours,
        "agents": [{"agentId": agent.client_id, "agentName": "worker", "tokens": 2, "lastTokenDay": "2026-01-16"}],
        "grants": 1,
    }


def test_other_credentials_are_in_force_and_in_use_only_if_they_are(
    client: FlaskClient, services: Services, cast: Cast, clock: Clock
) -> None:
    agent = make_agent(services, cast.acme.organization_id, "worker", ["analytics:read"])
    database = database_of(services, agent.organization_id)
    path = f"agents/{agent.agent_id}/credentials/{agent.credential_ids()[0]}"
    body = read_impact(client, cast, path)
    assert body["otherCredentials"] == []
    assert body["summary"] == [
        "No token was counted in the last 90 days.",
        "The agent has no other credential, so it will get no further token.",
    ]
    assert body["quietestHours"] is None
    with database.transaction() as opened:
        _, spare_secret = add_credential(opened, agent.agent_id, label="spare", expires_at=None)
        add_credential(opened, agent.agent_id, label="ends", expires_at=NOON + timedelta(days=1))
        gone, _ = add_credential(opened, agent.agent_id, label="gone", expires_at=None)
        end_credential(opened, agent.agent_id, gone.credential_id)
    assert spare_secret is not None
    body = read_impact(client, cast, path)
    assert {other["label"] for other in body["otherCredentials"]} == {"ends", "spare"}
    assert body["summary"][1] == "The agent has another credential, but none that was used in the last 30 days."
    agent.get_tokens(client, 1, client_secret=spare_secret)
    clock.now = NOON + timedelta(days=30) - timedelta(microseconds=1)
    assert read_impact(client, cast, path)["summary"][1].startswith("The agent has another credential in use: spare,")
    clock.now = NOON + timedelta(days=30)
    assert read_impact(client, cast, path)["summary"][1].startswith("The agent has another credential, but none")
    ended = f"agents/{agent.agent_id}/credentials/{gone.credential_id}/impact"
    assert ask(client, cast, ended, 404)["code"] == "NOT_FOUND"


def test_the_bound_of_valid_tokens_counts_with_the_lifetime_of_each_resource(
    client: FlaskClient, services: Services, cast: Cast, clock: Clock, api: UUID
) -> None:
    agent = make_agent(services, cast.acme.organization_id, "worker", ["analytics:read", "invoices:read"])

    def set_ttl(ttl: int | None) -> None:
        with database_of(services, agent.organization_id).transaction() as opened:
            update_resource_server(opened, services.settings, api, {"token_ttl": ttl})

    def bounds() -> list[tuple[int, str | None]]:
        of_agent = f"agents/{agent.agent_id}"
        paths = f"{of_agent}/credentials/{agent.credential_ids()[0]}", of_agent, f"resource-servers/{api}"
        valid_tokens = [read_impact(client, cast, path)["validTokens"] for path in paths]
        return [(tokens["atMost"], tokens["until"]) for tokens in valid_tokens]

    clock.now = NOON - timedelta(days=3)
    set_ttl(4 * 3600)
    clock.now = NOON - timedelta(hours=3)
    agent.get_tokens(client, 5, resource=API)
    clock.now = NOON - timedelta(hours=2)
    agent.get_tokens(client, 7)
    clock.now = NOON
    # The tokens for our own API have expired.
    assert bounds() == [(5, "2026-04-15T14:00:00.000000Z")] * 3
    # The earlier tokens are valid for four more hours. The old lifetime is not stored, so a day is assumed.
    set_ttl(60)
    assert bounds() == [(5, "2026-04-16T10:00:00.000000Z")] * 3
    clock.now = NOON + timedelta(days=1) - timedelta(microseconds=1)
    agent.get_tokens(client, 1, resource=API)
    assert bounds() == [(1, "2026-04-17T11:59:59.999999Z")] * 3
    clock.now = NOON + timedelta(days=1)
    assert bounds() == [(1, "2026-04-16T12:01:00.000000Z")] * 3
    # A deleted one may have said anything.
    with database_of(services, agent.organization_id).transaction() as opened:
        remove_resource_server(opened, api)
    body = read_impact(client, cast, f"agents/{agent.agent_id}")["validTokens"]
    assert body == {"atMost": 1, "until": "2026-04-17T12:00:00.000000Z"}
