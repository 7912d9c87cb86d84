"""``/api/v1/markers``."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.registry import markers
from tests.conftest import Cast
from tests.factories import NOON, Agent, Clock

MARKER = {"kind": "deployment", "startsAt": "2026-04-15T10:00:00Z", "note": "release 7"}


def create(client: FlaskClient, agent: Agent, **body: Any) -> Any:
    """Add a marker; the response."""
    return client.post("/api/v1/markers", json=MARKER | body, headers=agent.bearer())


def listed(client: FlaskClient, agent: Agent) -> list[dict[str, Any]]:
    """The markers of its organization."""
    data: list[dict[str, Any]] = client.get("/api/v1/markers", headers=agent.bearer()).json["data"]
    return data


def test_a_marker_is_created_listed_and_deleted(client: FlaskClient, cast: Cast) -> None:
    made = create(client, cast.acme, agentId=cast.acme.client_id)
    assert made.status_code == 201
    assert made.json == {
        "markerId": made.json["markerId"],
        "kind": "deployment",
        "startsAt": "2026-04-15T10:00:00.000000Z",
        "endsAt": "2026-04-15T10:00:00.000000Z",
        "agentId": cast.acme.client_id,
        "note": "release 7",
        "createdAt": "2026-04-15T12:00:00.000000Z",
    }
    assert listed(client, cast.acme) == [made.json]
    assert listed(client, cast.outsider) == []
    path = f"/api/v1/markers/{made.json['markerId']}"
    assert made.headers["Location"] == path
    assert client.delete(path, headers=cast.acme.bearer()).status_code == 204
    assert client.delete(path, headers=cast.acme.bearer()).status_code == 404
    assert listed(client, cast.acme) == []


def test_a_holiday_lasts_for_a_day_unless_it_says_when_it_ends(client: FlaskClient, cast: Cast) -> None:
    whole = create(client, cast.acme, kind="holiday", startsAt="2026-12-25T00:00:00Z").json
    half = create(
        client, cast.acme, kind="holiday", startsAt="2026-12-24T12:00:00Z", endsAt="2026-12-25T00:00:00Z", note=None
    ).json
    assert [one["endsAt"][:13] for one in (whole, half)] == ["2026-12-26T00", "2026-12-25T00"]
    assert listed(client, cast.acme) == [whole, half]


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"endsAt": "2026-04-15T09:59:59Z"}, {"endsAt": ["must be after startsAt, by at most 366 days"]}),
        ({"endsAt": "2027-04-17T10:00:00Z"}, {"endsAt": ["must be after startsAt, by at most 366 days"]}),
        ({"agentId": str(uuid.UUID(int=7))}, {"agentId": ["must be an agent of the organization"]}),
        *(
            ({"startsAt": starts_at}, {"startsAt": [f"must be within {markers.FURTHEST.days} days of now"]})
            for starts_at in (
                "0001-01-01T00:00:00Z",
                (NOON - markers.FURTHEST - timedelta(seconds=1)).isoformat(),
                (NOON + markers.FURTHEST + timedelta(seconds=1)).isoformat(),
                "9999-12-31T23:59:59Z",
            )
        ),
        ({"kind": "party"}, {"kind": [f"must be one of: {', '.join(markers.KINDS)}"]}),
    ],
)
def test_a_wrong_marker_is_refused(
    client: FlaskClient, cast: Cast, body: dict[str, str], details: dict[str, list[str]]
) -> None:
    response = create(client, cast.acme, **body)
    assert (response.status_code, response.json["details"]) == (400, details)
    assert listed(client, cast.acme) == []


@pytest.mark.parametrize("kind", markers.KINDS)
@pytest.mark.parametrize("starts_at", [NOON - markers.FURTHEST, NOON + markers.FURTHEST])
def test_the_furthest_markers(client: FlaskClient, cast: Cast, kind: str, starts_at: datetime) -> None:
    assert create(client, cast.acme, kind=kind, startsAt=starts_at.isoformat()).status_code == 201
    assert len(listed(client, cast.acme)) == 1


def test_a_holiday_is_of_every_agent(client: FlaskClient, cast: Cast) -> None:
    response = create(client, cast.acme, kind="holiday", agentId=cast.acme.client_id)
    assert response.json["details"] == {"agentId": ["must be null for a holiday"]}


def test_another_organizations_agent_is_none(client: FlaskClient, cast: Cast) -> None:
    response = create(client, cast.acme, agentId=cast.outsider.client_id)
    assert response.json["details"] == {"agentId": ["must be an agent of the organization"]}


def test_an_organization_has_a_limit_and_forgets_old_markers(
    client: FlaskClient, cast: Cast, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers, "MAX_MARKERS", 1)
    first = create(client, cast.acme).json
    response = create(client, cast.acme)
    assert (response.status_code, response.json["message"]) == (
        409,
        "The organization has 1 markers; delete one first.",
    )
    assert listed(client, cast.acme) == [first]
    clock.now += markers.KEPT_FOR + timedelta(days=1)
    assert create(client, cast.acme, startsAt="2027-05-20T00:00:00Z").status_code == 201
    assert [one["startsAt"][:4] for one in listed(client, cast.acme)] == ["2027"]
