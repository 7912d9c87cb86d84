"""The forms take what the API takes: a browser refuses longer texts before they are sent."""

from __future__ import annotations

from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.alerts.addresses import MAX_URL_LENGTH
from agentidp.audit.reading import MAX_ID
from agentidp.findings.actions import MAX_NOTE
from agentidp.http.schemas import MAX_NAME
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
        ("/alert-targets/new", {"name": MAX_NAME, "url": MAX_URL_LENGTH}),
        ("/audit", {"subject": MAX_ID, "actor": MAX_ID}),
        ("/findings/{finding}", {"note": MAX_NOTE}),
    ],
    ids=str,
)
def test_a_field_takes_as_many_characters_as_the_api(
    client: FlaskClient, cast: Cast, finding_id: UUID, path: str, expected: dict[str, int]
) -> None:
    scope = "analytics:read alerts:write audit:read findings:write"
    response = with_session(client, cast.acme, scope=scope).get("/dashboard" + path.format(finding=finding_id))
    fields = {field["name"]: field["maxlength"] for field in Page(response).all("input") if "maxlength" in field}
    assert fields == {name: str(length) for name, length in expected.items()}
