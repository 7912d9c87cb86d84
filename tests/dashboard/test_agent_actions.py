"""What an operator does to an agent on its page, and who cannot."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.registry.credentials import MAX_CREDENTIALS, MAX_LABEL
from agentidp.services import Services
from tests.dashboard.conftest import Page, post, with_session
from tests.factories import Agent, Clock, database_of, make_agent


@pytest.fixture
def worker(acme: Agent, services: Services) -> Agent:
    """Another agent of Acme, which may not change agents."""
    return make_agent(services, acme.organization_id, name="worker", scopes=["analytics:read"])


def credentials(agent: Agent) -> list[str]:
    """The ids of an agent's credentials that are not revoked."""
    database = database_of(agent.services, agent.organization_id)
    rows = database.fetch("agents/list_credentials", agent_id=agent.agent_id)
    return [str(row.credential_id) for row in rows if row.credential_id]


def status(agent: Agent) -> str:
    """Of the agent, as it is stored."""
    [row] = database_of(agent.services, agent.organization_id).fetch("agents/get_agent", agent_id=agent.agent_id)
    return str(row.status)


def token_request(client: FlaskClient, client_id: str, secret: str) -> TestResponse:
    """Ask for a token."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return client.post("/api/v1/token", data=form)


def test_suspends_and_resumes_after_a_confirmation(signed_in: FlaskClient, worker: Agent) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    for action, before, after in (("suspend", "active", "suspended"), ("resume", "suspended", "active")):
        assert f"{page}/{action}" in [link["href"] for link in Page(signed_in.get(page)).all("a")]
        asked = Page(signed_in.get(f"{page}/{action}"))
        assert f"{page}/{action}" in [form["action"] for form in asked.all("form")]
        assert status(worker) == before
        response = post(signed_in, f"{page}/{action}")
        assert (response.status_code, response.headers["Location"]) == (303, page)
        assert status(worker) == after


def test_rotates_a_credential_and_shows_the_secret_once(signed_in: FlaskClient, worker: Agent) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    [old] = credentials(worker)
    assert "The new secret is shown once." in Page(signed_in.get(f"{page}/rotate")).text
    assert credentials(worker) == [old]
    response = post(signed_in, f"{page}/rotate")
    assert response.headers["Cache-Control"] == "no-store"
    [secret] = re.findall(r"aidp_\w+", response.text)
    assert token_request(signed_in, worker.client_id, secret).status_code == 200
    assert token_request(signed_in, worker.client_id, worker.client_secret).status_code == 200
    shown = Page(signed_in.get(page))
    assert secret not in shown.text
    assert [row[0] for row in shown.table("Credentials")] == ["none", "none"]
    asked = Page(signed_in.get(f"{page}/credentials/{old}/revoke")).text
    assert old in asked
    assert "only credential" not in asked
    assert old in credentials(worker)
    response = post(signed_in, f"{page}/credentials/{old}/revoke")
    assert (response.status_code, response.headers["Location"]) == (303, page)
    assert old not in credentials(worker)
    assert token_request(signed_in, worker.client_id, worker.client_secret).status_code == 401
    [new] = credentials(worker)
    assert "only credential" in Page(signed_in.get(f"{page}/credentials/{new}/revoke")).text
    for method in (signed_in.get, lambda path: post(signed_in, path)):
        assert method(f"{page}/credentials/{old}/revoke").status_code == 404
    none = "The agent has no credential now, so it gets no further tokens."
    assert none not in Page(signed_in.get(page)).text
    post(signed_in, f"{page}/credentials/{new}/revoke")
    assert none in Page(signed_in.get(page)).text


def test_lists_credentials_with_label_last_use_and_expiry(signed_in: FlaskClient, acme: Agent, worker: Agent) -> None:
    body = {"label": "laptop", "expiresAt": "2026-05-01T00:00:00Z"}
    path = f"/api/v1/agents/{worker.agent_id}/credentials"
    made = signed_in.post(path, json=body, headers=acme.bearer()).json
    assert token_request(signed_in, worker.client_id, made["clientSecret"]).status_code == 200
    rows = Page(signed_in.get(f"/dashboard/agents/{worker.agent_id}")).table("Credentials")
    assert sorted(row[:5] for row in rows) == [
        ["laptop", "secret", "Wed 15 Apr, 12:00", "Wed 15 Apr, 12:00", "Fri 1 May, 00:00"],
        ["none", "secret", "Wed 15 Apr, 12:00", "never", "never"],
    ]


def test_a_new_credential_has_the_label_and_the_expiry_of_the_form(
    signed_in: FlaskClient, clock: Clock, worker: Agent
) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    form = {"label": " laptop ", "expiresAt": "2026-04-16"}
    [secret] = re.findall(r"aidp_\w+", post(signed_in, f"{page}/rotate", **form).text)
    row = ["laptop", "secret", "Wed 15 Apr, 12:00", "never", "Thu 16 Apr, 00:00", "0", "Revoke"]
    assert row in Page(signed_in.get(page)).table("Credentials")
    clock.now = datetime(2026, 4, 15, 23, 59, 59, tzinfo=UTC)
    assert token_request(signed_in, worker.client_id, secret).status_code == 200
    clock.now = datetime(2026, 4, 16, tzinfo=UTC)
    assert token_request(signed_in, worker.client_id, secret).status_code == 401
    assert [row[0] for row in Page(signed_in.get(page)).table("Credentials") if row[0] != "none"] == ["laptop expired"]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"label": "x" * (MAX_LABEL + 1)}, f"The label must have 1 to {MAX_LABEL} characters."),
        ({"label": "a\tb"}, "The label must not hold control characters or lone surrogates."),
        ({"expiresAt": "2026-04-15"}, "The day on which it expires must be in the future."),
        ({"expiresAt": "tomorrow"}, "The day on which it expires must be a date."),
    ],
)
def test_a_wrong_field_is_named_and_what_was_typed_is_kept(
    signed_in: FlaskClient, worker: Agent, form: dict[str, str], message: str
) -> None:
    path, before = f"/dashboard/agents/{worker.agent_id}/rotate", credentials(worker)
    response = post(signed_in, path, **form)
    page = Page(response)
    assert (response.status_code, page.notice.strip()) == (400, message)
    [name] = form
    fields = {field["name"]: field for field in page.all("input") if "name" in field}
    assert fields[name]["value"] == form[name]
    assert (fields[name]["aria-invalid"], fields[name]["aria-describedby"]) == ("true", f"{name}-hint {name}-error")
    assert credentials(worker) == before


def test_one_credential_too_many_is_refused_with_a_sentence(signed_in: FlaskClient, worker: Agent) -> None:
    path = f"/dashboard/agents/{worker.agent_id}/rotate"
    for _ in range(MAX_CREDENTIALS - 1):
        assert post(signed_in, path).status_code == 200
    response = post(signed_in, path, label="one more")
    message = f"The agent has {MAX_CREDENTIALS} credentials; revoke one first."
    assert (response.status_code, Page(response).notice.strip()) == (409, message)
    assert "one more" in [field.get("value") for field in Page(response).all("input")]


def test_deletes_after_a_confirmation_that_says_what_it_ends(signed_in: FlaskClient, worker: Agent) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    asked = " ".join(Page(signed_in.get(f"{page}/delete")).text.split())
    assert "the tokens that it has are refused at once. Its credential is revoked. This cannot be undone." in asked
    assert "signed in as this agent" not in asked
    post(signed_in, f"{page}/rotate")
    assert "Its 2 credentials are revoked." in Page(signed_in.get(f"{page}/delete")).text
    assert status(worker) == "active"
    response = post(signed_in, f"{page}/delete")
    assert (response.status_code, response.headers["Location"]) == (303, "/dashboard/agents")
    assert token_request(signed_in, worker.client_id, worker.client_secret).status_code == 401
    assert signed_in.get(f"{page}/edit").status_code == 404
    assert not [a for a in Page(signed_in.get(page)).all("a") if a["href"] == f"{page}/edit"]


def test_says_that_one_suspends_oneself_and_ends_the_session(signed_in: FlaskClient, acme: Agent) -> None:
    page = f"/dashboard/agents/{acme.agent_id}"
    assert "so you will be signed out" in Page(signed_in.get(f"{page}/suspend")).text
    assert post(signed_in, f"{page}/suspend").status_code == 303
    assert signed_in.get(page).status_code == 401


@pytest.mark.parametrize("scopes", [["analytics:read"], ["analytics:read", "agents:read"]], ids=str)
def test_who_may_not_change_agents_sees_no_action(
    client: FlaskClient, acme: Agent, services: Services, worker: Agent, scopes: list[str]
) -> None:
    with_session(client, make_agent(services, acme.organization_id, name="reader", scopes=scopes))
    page = Page(client.get(f"/dashboard/agents/{worker.agent_id}"))
    assert not [a for a in page.all("a") if re.search(r"/(edit|suspend|delete|rotate|revoke)$", a["href"] or "")]
    # Who reads agents sees their credentials and scopes.
    may_read = "agents:read" in scopes
    assert ("Credentials that are not revoked" in page.tables, "Scopes" in page.text.split()) == (may_read, may_read)
