"""``/api/v1/markers``."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from agentidp.registry import markers
from tests.conftest import Cast
from tests.factories import NOON, Api, Clock


def create(api: Api, **body: Any) -> Any:
    new = {"kind": "deployment", "startsAt": "2026-04-15T10:00:00Z", "note": "release 7"}
    return api.post("markers", new | body)


def listed(api: Api) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = api.get("markers").json["data"]
    return data


def test_a_marker_is_created_listed_and_deleted(acme: Api, outsider: Api) -> None:
    response = create(acme, agentId=acme.agent.client_id)
    assert (response.status_code, response.json) == (
        201,
        {
            "markerId": response.json["markerId"],
            "kind": "deployment",
            "startsAt": "2026-04-15T10:00:00.000000Z",
            "endsAt": "2026-04-15T10:00:00.000000Z",
            "agentId": acme.agent.client_id,
            "note": "release 7",
            "createdAt": "2026-04-15T12:00:00.000000Z",
        },
    )
    assert (listed(acme), listed(outsider)) == ([response.json], [])
    path = response.headers["Location"]
    assert path == f"/api/v1/markers/{response.json['markerId']}"
    assert [acme.delete(path).status_code for _ in range(2)] == [204, 404]
    assert listed(acme) == []


def test_a_holiday_lasts_for_a_day_unless_it_says_when_it_ends(acme: Api) -> None:
    whole = create(acme, kind="holiday", startsAt="2026-12-25T00:00:00Z").json
    half = create(acme, kind="holiday", startsAt="2026-12-24T12:00:00Z", endsAt="2026-12-25T00:00:00Z", note=None).json
    assert [marker["endsAt"][:13] for marker in (whole, half)] == ["2026-12-26T00", "2026-12-25T00"]
    assert listed(acme) == [whole, half]


@pytest.mark.parametrize(
    ("body", "member", "rule"),
    [
        ({"endsAt": "2026-04-15T09:59:59Z"}, "endsAt", "must be after startsAt, by at most 366 days"),
        ({"endsAt": "2027-04-17T10:00:00Z"}, "endsAt", "must be after startsAt, by at most 366 days"),
        ({"agentId": str(uuid.UUID(int=7))}, "agentId", "must be an agent of the organization"),
        ({"agentId": "the outsider's"}, "agentId", "must be an agent of the organization"),
        ({"agentId": "its own", "kind": "holiday"}, "agentId", "must be null for a holiday"),
        *(
            ({"startsAt": starts_at}, "startsAt", f"must be within {markers.MAX_DISTANCE.days} days of now")
            for starts_at in (
                "0001-01-01T00:00:00Z",
                (NOON - markers.MAX_DISTANCE - timedelta(seconds=1)).isoformat(),
                (NOON + markers.MAX_DISTANCE + timedelta(seconds=1)).isoformat(),
                "9999-12-31T23:59:59Z",
            )
        ),
        ({"kind": "party"}, "kind", f"must be one of {', '.join(markers.KINDS)}"),
    ],
)
def test_a_wrong_marker_is_refused(acme: Api, cast: Cast, body: dict[str, str], member: str, rule: str) -> None:
    ids = {"the outsider's": cast.outsider.client_id, "its own": cast.acme.client_id}
    response = create(acme, **{name: ids.get(value, value) for name, value in body.items()})
    assert (response.status_code, response.json["details"]) == (400, {member: [rule]})
    assert listed(acme) == []


@pytest.mark.parametrize("kind", markers.KINDS)
@pytest.mark.parametrize("starts_at", [NOON - markers.MAX_DISTANCE, NOON + markers.MAX_DISTANCE])
def test_the_furthest_markers(acme: Api, kind: str, starts_at: datetime) -> None:
    assert create(acme, kind=kind, startsAt=starts_at.isoformat()).status_code == 201
    assert len(listed(acme)) == 1


def test_an_organization_has_a_limit_and_forgets_old_markers(
    acme: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers, "MAX_MARKERS", 1)
    first = create(acme).json
    response = create(acme)
    message = "The organization has 1 markers; delete one first."
    assert (response.status_code, response.json["message"]) == (409, message)
    assert listed(acme) == [first]
    clock.now += markers.MAX_AGE + timedelta(days=1)
    assert create(acme, startsAt="2027-05-20T00:00:00Z").status_code == 201
    assert [marker["startsAt"][:4] for marker in listed(acme)] == ["2027"]
