"""Marking a deployment or a holiday from the chart."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.dashboard.conftest import Page, Read, led_to, post, refusal, with_session
from tests.factories import NOON, Agent, Api

NEW = "/dashboard/markers/new"


def test_marks_a_deployment_and_a_holiday(signed_in: FlaskClient, read: Read, acme: Agent) -> None:
    acme.count(NOON, tokens=12)
    assert f"{NEW}?day=2026-04-15" in read().links
    assert f"{NEW}?day=2026-04-14" in read("/days/2026-04-14").links
    assert read("/markers/new?day=2026-04-14").typed["startsAt"] == "2026-04-14"
    typed = {"kind": "deployment", "startsAt": "2026-04-14", "time": "09:30", "endsAt": "", "note": "v2"}
    assert led_to(post(signed_in, NEW, **typed)) == "/dashboard/month?month=2026-04#changes"
    typed = {"kind": "holiday", "startsAt": "2026-04-03", "time": "", "endsAt": "2026-04-06", "note": ""}
    assert led_to(post(signed_in, NEW, **typed)) == "/dashboard/month?month=2026-04#changes"
    markers = Api(signed_in, acme).get("markers").json["data"]
    assert [(marker["kind"], marker["startsAt"], marker["endsAt"], marker["note"]) for marker in markers] == [
        ("deployment", "2026-04-14T09:30:00.000000Z", "2026-04-14T09:30:00.000000Z", "v2"),
        ("holiday", "2026-04-03T00:00:00.000000Z", "2026-04-07T00:00:00.000000Z", None),
    ]
    assert "holiday Fri 3 Apr to Mon 6 Apr" in read().words


def test_deletes_a_marker_after_a_confirmation(signed_in: FlaskClient, read: Read, acme: Agent) -> None:
    acme.count(NOON, tokens=12)
    api = Api(signed_in, acme)
    marker = api.post("markers", {"kind": "holiday", "startsAt": "2026-04-06T00:00:00Z", "note": "Easter"}).json
    path = f"/markers/{marker['markerId']}/delete"
    assert f"/dashboard{path}" in read().links
    assert "Delete the marker: holiday Mon 6 Apr" in read(path).words
    assert led_to(post(signed_in, f"/dashboard{path}")) == "/dashboard#trend"
    assert api.get("markers").json["data"] == []
    assert signed_in.get(f"/dashboard{path}").status_code == 404


def test_refuses_what_is_no_marker(signed_in: FlaskClient, acme: Agent) -> None:
    typed = {"kind": "deployment", "startsAt": "2026-04-14", "time": "", "endsAt": "", "note": ""}
    for changes, sentence in (
        ({"startsAt": ""}, "The first day must be a day."),
        ({"time": "25:00"}, "The time must be a time such as 09:30."),
        ({"endsAt": "soon"}, "The last day must be a day that is not before the first day."),
        ({"endsAt": "2026-04-01"}, "The last day must be a day that is not before the first day."),
        ({"startsAt": "2020-01-01"}, "The first day must be within 800 days of now."),
        ({"endsAt": "2028-01-01"}, "The last day must be after startsAt, by at most 366 days."),
    ):
        assert refusal(post(signed_in, NEW, **(typed | changes))) == (400, sentence)
    assert Api(signed_in, acme).get("markers").json["data"] == []


def test_needs_the_scope_of_findings(client: FlaskClient, acme: Agent) -> None:
    viewer = acme.colleague("viewer", ["analytics:read"])
    acme.count(NOON, tokens=12)
    session = with_session(client, viewer)
    assert session.get(NEW).status_code == 403
    assert not any("/markers/" in link for link in Page(session.get("/dashboard")).links)
