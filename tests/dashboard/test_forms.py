"""The forms take what the API takes: a browser refuses longer texts before they are sent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.alerts.addresses import MAX_URL_LENGTH
from agentidp.audit.reading import MAX_ID
from agentidp.dashboard import forms
from agentidp.findings.actions import MAX_NOTE
from agentidp.http.resource_identifier import MAX_AUDIENCE_LENGTH, MAX_RESOURCE_LENGTH
from agentidp.http.schemas import MAX_NAME, MAX_OWNER, Choice, Flag, Items, Number, Text
from agentidp.registry.agents import MAX_DESCRIPTION
from agentidp.registry.credentials import MAX_LABEL
from agentidp.services import Services
from tests.dashboard.conftest import Page, with_session
from tests.factories import NOON, Agent, a_finding, make_finding


@pytest.fixture
def finding_id(acme: Agent, services: Services) -> UUID:
    """Of a finding about an agent of Acme."""
    finding = a_finding(NOON, agent_id=acme.agent_id, agent_name="builder")
    return make_finding(services, acme.organization_id, finding)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/agents", {"search": MAX_NAME}),
        ("/agents/new", {"name": MAX_NAME, "description": MAX_DESCRIPTION, "owner": MAX_OWNER}),
        ("/agents/{agent}/rotate", {"label": MAX_LABEL}),
        (
            "/resource-servers/new",
            {"name": MAX_NAME, "resource": MAX_RESOURCE_LENGTH, "audience": MAX_AUDIENCE_LENGTH, "agentId": MAX_NAME},
        ),
        ("/alert-targets/new", {"name": MAX_NAME, "url": MAX_URL_LENGTH}),
        ("/audit", {"subject": MAX_ID, "actor": MAX_ID}),
        ("/findings/{finding}", {"note": MAX_NOTE}),
    ],
    ids=str,
)
def test_a_field_takes_as_many_characters_as_the_api(
    client: FlaskClient, acme: Agent, finding_id: UUID, path: str, expected: dict[str, int]
) -> None:
    scope = "analytics:read agents:write alerts:write audit:read findings:write"
    address = path.format(finding=finding_id, agent=acme.agent_id)
    page = Page(with_session(client, acme, scope=scope).get(f"/dashboard{address}"))
    # But for the search in the header, which is the first field of every page.
    shown = [*page.all("input")[1:], *page.all("textarea")]
    fields = {field["name"]: field["maxlength"] for field in shown if "maxlength" in field}
    assert fields == {name: str(length) for name, length in expected.items()}


class Things(ma.Schema):
    """A thing with a member of each type."""

    name = Text(1, 9, required=True)
    audience = Text(0, 9, allow_none=True, load_default=None)
    copies = Number(0, 9, allow_none=True, load_default=3)
    colour = Choice(["red", "blue"], load_default="blue")
    isBound = Flag(load_default=False)
    kinds = Items(Choice(["a", "b"]), allow_none=True, load_default=None)
    scopes = Items(Text(1, 9), load_default=list)


@pytest.mark.parametrize(
    ("sent", "members"),
    [
        ({}, {"name": "", "audience": None, "copies": None, "isBound": False, "kinds": None, "scopes": []}),
        ({"name": " x ", "audience": "y"}, {"name": "x", "audience": "y"}),
        ({"copies": "0"}, {"copies": 0}),
        # A schema refuses what is no number.
        ({"copies": "1_0"}, {"copies": "1_0"}),
        ({"isBound": "1", "kinds": ["b", "a"]}, {"isBound": True, "kinds": ["b", "a"]}),
        ({"scopes": "x\r\n\r\n y \r\n"}, {"scopes": ["x", "y"]}),
    ],
    ids=str,
)
def test_what_was_typed_is_the_body_of_the_api(app: Flask, sent: dict[str, Any], members: dict[str, Any]) -> None:
    fields = forms.members(Things())
    with app.test_request_context(method="POST", data=sent):
        body = forms.body(fields, forms.sent(fields))
    assert body | members == body


def test_a_form_has_what_the_thing_is_or_its_defaults() -> None:
    fields = forms.members(Things(exclude=["name"]))
    given = {"audience": None, "copies": 0, "colour": "red", "isBound": True, "kinds": ["a"], "scopes": ["x", "y"]}
    assert forms.typed(fields, given) == given | {"audience": "", "scopes": "x\ny"}
    proposed = {"audience": "", "copies": 3, "colour": "blue", "isBound": False, "kinds": "", "scopes": ""}
    assert forms.proposed(fields) == proposed
