"""The forms take what the API takes: a browser refuses longer texts before they are sent."""

from __future__ import annotations

from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.alerts.addresses import MAX_URL_LENGTH
from agentidp.audit.reading import MAX_ID
from agentidp.findings.actions import MAX_NOTE
from agentidp.http.resource_identifier import MAX_AUDIENCE_LENGTH, MAX_RESOURCE_LENGTH
from agentidp.http.schemas import MAX_NAME, MAX_OWNER
from agentidp.registry.agents import MAX_DESCRIPTION
from agentidp.registry.credentials import MAX_LABEL
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, with_session
from tests.factories import NOON, a_finding, make_finding


@pytest.fixture
def finding_id(cast: Cast, services: Services) -> UUID:
    """Of a finding about an agent of Acme."""
    acme = cast.acme
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
            {"name": MAX_NAME, "resource": MAX_RESOURCE_LENGTH, "audience": MAX_AUDIENCE_LENGTH},
        ),
        ("/alert-targets/new", {"name": MAX_NAME, "url": MAX_URL_LENGTH}),
        ("/audit", {"subject": MAX_ID, "actor": MAX_ID}),
        ("/findings/{finding}", {"note": MAX_NOTE}),
    ],
    ids=str,
)
def test_a_field_takes_as_many_characters_as_the_api(
    client: FlaskClient, cast: Cast, finding_id: UUID, path: str, expected: dict[str, int]
) -> None:
    scope = "analytics:read agents:write alerts:write audit:read findings:write"
    address = path.format(finding=finding_id, agent=cast.acme.agent_id)
    page = Page(with_session(client, cast.acme, scope=scope).get(f"/dashboard{address}"))
    shown = [*page.all("input"), *page.all("textarea")]
    fields = {field["name"]: field["maxlength"] for field in shown if "maxlength" in field}
    assert fields == {name: str(length) for name, length in expected.items()}
