"""``GET /api/v1/analytics/tokens``."""

from __future__ import annotations

from datetime import timedelta

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.analytics.oracle import BAD_DAYS, HEATMAP, TREND, USAGE
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, make_agent, make_organization, usage_sums

RULE = "must be a whole number from 1 to 90"


@ON_CITUS_TOO
def test_returns_each_day_with_zeros_for_the_organization_of_the_token(client: FlaskClient, cast: Cast) -> None:
    acme = cast.acme
    # The trend shows no requests, no tokens of other days or organizations, and no tokens of tomorrow, which a server
    # whose clock is ahead may have counted.
    for days, tokens, requests in ((0, 3, 11), (-2, 2, 0), (-3, 1, 0), (1, 5, 0)):
        acme.count(NOON + timedelta(days=days), tokens=tokens, requests=requests)
    cast.outsider.count(NOON, tokens=7)
    response = client.get(f"{TREND}?days=3", headers=acme.bearer())
    assert response.status_code == 200
    assert response.json == {
        "tenantId": acme.organization_id,
        "days": 3,
        "data": [
            {"date": "2026-04-13", "count": 2},
            {"date": "2026-04-14", "count": 0},
            {"date": "2026-04-15", "count": 3},
        ],
    }


def test_refuses_every_other_days_and_names_it(client: FlaskClient, database_url: str, cast: Cast) -> None:
    bearer = cast.acme.bearer()
    for query, rule in (
        *((f"days={value}", RULE) for value in BAD_DAYS),
        ("days", RULE),
        ("days=7&days=7", "must be given once only"),
        ("days=7&days=abc", "must be given once only"),
        ("days=7&%64ays=8", "must be given once only"),
    ):
        response = client.get(f"{TREND}?{query}", headers={**bearer, "X-Request-Id": "the-request"})
        assert (response.status_code, response.json) == (
            400,
            {"code": "VALIDATION_ERROR", "message": "The request is not valid.", "details": {"days": [rule]}},
        ), query
        assert response.headers["X-Request-Id"] == "the-request"
    # A refused request is a request.
    assert usage_sums(database_url, cast.acme.organization_id)["agent_requests"] == len(BAD_DAYS) + 4


def test_tenant_id_is_the_claim_byte_for_byte(client: FlaskClient, services: Services) -> None:
    organization_id = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
    agent = make_agent(services, make_organization(services, "Guide", organization_id))
    response = client.get(f"{TREND}?days=1", headers=agent.bearer())
    assert response.get_data() == (
        b'{"tenantId":"org-0a1b2c3d-e4f5-6789-abcd-ef0123456789","days":1,"data":[{"date":"2026-04-15","count":0}]}'
    )


@ON_CITUS_TOO
def test_a_token_and_a_request_are_in_the_next_answer_of_each_endpoint(client: FlaskClient, cast: Cast) -> None:
    acme, tenant = cast.acme, f'{{"tenantId":"{cast.acme.organization_id}",'
    empty = [client.get(path, headers=acme.bearer()).text for path in (HEATMAP, USAGE, f"{TREND}?days=1")]
    assert empty == [
        f'{tenant}"data":[]}}',
        f'{tenant}"month":"2026-04","data":[]}}',
        f'{tenant}"days":1,"data":[{{"date":"2026-04-15","count":0}}]}}',
    ]
    for count in (1, 2):
        form = {"grant_type": "client_credentials"}
        issued = client.post("/api/v1/token", data=form, auth=(acme.client_id, acme.client_secret))
        bearer = {"Authorization": f"Bearer {issued.json['access_token']}"}
        data = [client.get(path, headers=bearer).json["data"] for path in (HEATMAP, USAGE, f"{TREND}?days=1")]
        # A token's request is one too, and a request is not in its own answer.
        assert data == [
            [{"dow": 3, "hour": 12, "count": 4 * count}],
            [{"agentId": acme.client_id, "tokenCount": count}],
            [{"date": "2026-04-15", "count": count}],
        ]
