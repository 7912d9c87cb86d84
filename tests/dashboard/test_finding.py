"""The page of a finding, and the form to acknowledge and mute a finding there and in lists."""

from __future__ import annotations

import re
import uuid
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.findings.finding import StoredFinding
from agentidp.findings.store import read_finding
from agentidp.services import Services
from tests.dashboard.conftest import Page, led_to, post
from tests.factories import NOON, Agent, Clock, a_finding, make_finding


@pytest.fixture
def finding_id(acme: Agent, services: Services) -> UUID:
    """Return the id of an ongoing finding about an agent of Acme."""
    acme.count(NOON, tokens=12)
    return make_finding(services, acme.organization_id, a_finding(NOON, agent_id=acme.agent_id, agent_name="builder"))


def stored(agent: Agent, finding_id: UUID) -> StoredFinding:
    """Return the finding from the database."""
    return read_finding(agent.database.fetch, finding_id)


def send(client: FlaskClient, finding_id: UUID, action: str, **form: str) -> TestResponse:
    """Send the form as a press of a button does."""
    return post(client, f"/dashboard/findings/{finding_id}/{action}", **form)


@pytest.mark.parametrize("path", ["", "/agents/{agent}"])
def test_the_card_acknowledges_mutes_and_unmutes(
    signed_in: FlaskClient, acme: Agent, finding_id: UUID, path: str
) -> None:
    path = path.format(agent=acme.agent_id)
    page = Page(signed_in.get(f"/dashboard{path}?days=7"))
    [form] = [form for form in page.all("form") if form.get("class") == "act"]
    assert form["action"] == f"/dashboard/findings/{finding_id}/acknowledge"
    back = f"{path}?days=7"
    assert page.typed["back"] == back
    assert "Muted" not in page.text
    for action, values, sentence in (
        ("acknowledge", {"note": " load <test> "}, "Acknowledged by builder on Wed 15 Apr, 12:00 UTC: load <test>"),
        # Without a new note, the note stays.
        ("acknowledge", {"note": ""}, "Acknowledged by builder on Wed 15 Apr, 12:00 UTC: load <test>"),
        ("acknowledge", {"note": "passes"}, "Acknowledged by builder on Wed 15 Apr, 12:00 UTC: passes"),
        ("mute", {"until": "2026-04-20"}, "Muted until Mon 20 Apr, 00:00 UTC. Until then, no alert is sent."),
        ("mute", {"until": "2026-04-21"}, "Muted until Tue 21 Apr, 00:00 UTC. Until then, no alert is sent."),
    ):
        response = send(signed_in, finding_id, action, back=back, **values)
        assert led_to(response) == f"/dashboard{back}#finding-{finding_id}"
        assert sentence in Page(signed_in.get(f"/dashboard{path}?days=7")).words
    for _ in range(2):
        assert send(signed_in, finding_id, "unmute", back=back).status_code == 303
        assert "Muted" not in Page(signed_in.get(f"/dashboard{path}?days=7")).text


def test_mutes_the_kind_for_every_agent(signed_in: FlaskClient, acme: Agent, clock: Clock, finding_id: UUID) -> None:
    assert send(signed_in, finding_id, "mute", until="2026-04-20", every="on").status_code == 303
    clock.advance(minutes=1)
    other = a_finding(NOON, agent_id=uuid.uuid4(), agent_name="other")
    assert stored(acme, make_finding(acme.services, acme.organization_id, other)).muted_until is not None


def test_an_acknowledged_finding_is_seen_to_be_so(signed_in: FlaskClient, finding_id: UUID) -> None:
    def seen(path: str) -> tuple[str, list[str], bool]:
        page = Page(signed_in.get(f"/dashboard{path}"))
        classes = [
            a["class"] for tag, a in page.elements if tag in ("details", "section") and "finding" in a.get("class", "")
        ]
        return page.words, classes, bool(re.search("(Spike|warning) acknowledged", page.words))

    for path in ("", f"/findings/{finding_id}"):
        assert seen(path)[1:] == (["finding warning"], False)
    assert "Findings 1 ongoing, 0 ended, 1 new in 24 hours" in seen("")[0]
    send(signed_in, finding_id, "acknowledge")
    for path in ("", f"/findings/{finding_id}"):
        assert seen(path)[1:] == (["finding warning acknowledged"], True)
    assert "Findings 1 ongoing, 0 ended, 1 acknowledged, 1 new in 24 hours" in seen("")[0]


def test_the_page_has_the_history(signed_in: FlaskClient, acme: Agent, clock: Clock, finding_id: UUID) -> None:
    address = f"/dashboard/findings/{finding_id}"
    assert address in Page(signed_in.get("/dashboard")).links
    clock.advance(minutes=1)
    assert led_to(send(signed_in, finding_id, "acknowledge", note="mine")) == address
    assert Page(signed_in.get(address)).table("Changes of the finding") == [
        ["Wed 15 Apr, 12:00", "opened", "warning", "", ""],
        ["Wed 15 Apr, 12:01", "acknowledged", "warning", "builder", "mine"],
    ]


def test_the_last_day_that_can_be_entered_is_accepted(signed_in: FlaskClient, finding_id: UUID) -> None:
    page = Page(signed_in.get(f"/dashboard/findings/{finding_id}"))
    [field] = [field for field in page.all("input") if field.get("name") == "until"]
    for day in (field["min"], field["max"]):
        assert send(signed_in, finding_id, "mute", until=day).status_code == 303


@pytest.mark.parametrize(
    "back", ["", "//evil.example?a=b", "https://evil.example", "/agents/..?days=7", "?days=7#top", "?\r\nX: y"]
)
def test_goes_back_to_a_page_of_ours_only(signed_in: FlaskClient, finding_id: UUID, back: str) -> None:
    assert led_to(send(signed_in, finding_id, "acknowledge", back=back)) == f"/dashboard/findings/{finding_id}"


def test_an_ended_finding_has_its_form_on_its_page(signed_in: FlaskClient, acme: Agent, services: Services) -> None:
    acme.count(NOON, tokens=12)
    finding_id = make_finding(services, acme.organization_id, a_finding(NOON.replace(day=13)))
    card = Page(signed_in.get("/dashboard"))
    assert "act" not in [form.get("class") for form in card.all("form")]
    page = Page(signed_in.get(f"/dashboard/findings/{finding_id}"))
    assert re.search(r"ended\s+\w+\s+Spike", page.text)
    assert "act" in [form.get("class") for form in page.all("form")]
    # The finding is about the organization, so it cannot be muted for every agent.
    assert "every" not in page.typed
