"""What an operator does to an agent on its page."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from agentidp.registry.credentials import MAX_CREDENTIALS
from tests.dashboard.conftest import Page, led_to, post, refusal, with_session
from tests.factories import Agent, Api, Clock


def credentials(agent: Agent) -> list[str]:
    """The ids of an agent's credentials that are not revoked."""
    return [str(credential_id) for credential_id in agent.credential_ids() if credential_id]


def status(agent: Agent) -> str:
    """Return the stored status of an agent."""
    [row] = agent.database.fetch("agents/get_agent", agent_id=agent.agent_id)
    return str(row.status)


def test_suspends_and_resumes_after_a_confirmation(signed_in: FlaskClient, worker: Agent) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    for action, before, after in (("suspend", "active", "suspended"), ("resume", "suspended", "active")):
        assert f"{page}/{action}" in Page(signed_in.get(page)).links
        confirmation = Page(signed_in.get(f"{page}/{action}"))
        assert f"{page}/{action}" in [form["action"] for form in confirmation.all("form")]
        assert status(worker) == before
        assert led_to(post(signed_in, f"{page}/{action}")) == page
        assert status(worker) == after


@pytest.mark.parametrize("is_revoked", [False, True])
def test_ends_all_tokens_after_a_confirmation(signed_in: FlaskClient, worker: Agent, is_revoked: bool) -> None:
    page, bearer = f"/dashboard/agents/{worker.agent_id}", worker.bearer()
    [credential_id] = credentials(worker)
    path = f"{page}/credentials/{credential_id}/revoke" if is_revoked else f"{page}/end-tokens"
    assert path in Page(signed_in.get(page)).links
    assert "End all tokens" in Page(signed_in.get(path)).text
    assert signed_in.get("/api/v1/analytics/tokens", headers=bearer).status_code == 200
    assert led_to(post(signed_in, path, **({"endTokens": "on"} if is_revoked else {}))) == page
    assert signed_in.get("/api/v1/analytics/tokens", headers=bearer).status_code == 401
    assert credentials(worker) == ([] if is_revoked else [credential_id])


def test_the_sessions_of_an_agent_end_with_its_tokens(signed_in: FlaskClient, acme: Agent) -> None:
    page = f"/dashboard/agents/{acme.agent_id}"
    assert "you will be signed out" in Page(signed_in.get(f"{page}/end-tokens")).text
    assert led_to(post(signed_in, f"{page}/end-tokens")) == page
    assert signed_in.get(page).status_code == 401


def test_rotates_a_credential_and_shows_the_secret_once(signed_in: FlaskClient, worker: Agent) -> None:
    page, api = f"/dashboard/agents/{worker.agent_id}", Api(signed_in, worker)
    [old] = credentials(worker)
    assert "The new secret is shown once." in Page(signed_in.get(f"{page}/rotate")).text
    assert credentials(worker) == [old]
    response = post(signed_in, f"{page}/rotate")
    assert response.headers["Cache-Control"] == "no-store"
    [secret] = re.findall(r"aidp_\w+", response.text)
    for client_secret in (secret, worker.client_secret):
        assert api.token(client_secret=client_secret).status_code == 200
    shown = Page(signed_in.get(page))
    assert secret not in shown.text
    short_ids = {credential_id[:8] for credential_id in credentials(worker)}
    assert {row[0] for row in shown.table("Credentials")} == short_ids
    confirmation = Page(signed_in.get(f"{page}/credentials/{old}/revoke")).text
    assert old in confirmation
    assert "only credential" not in confirmation
    assert old in credentials(worker)
    assert led_to(post(signed_in, f"{page}/credentials/{old}/revoke")) == page
    [new] = credentials(worker)
    assert new != old
    assert api.token().status_code == 401
    assert "only credential" in Page(signed_in.get(f"{page}/credentials/{new}/revoke")).text
    for method in (signed_in.get, lambda path: post(signed_in, path)):
        assert method(f"{page}/credentials/{old}/revoke").status_code == 404
    none = "The agent has no credential, so it cannot get a token."
    assert none not in Page(signed_in.get(page)).text
    post(signed_in, f"{page}/credentials/{new}/revoke")
    assert none in Page(signed_in.get(page)).text


def test_a_new_credential_has_the_label_and_the_expiry_of_the_form_and_shows_its_last_use(
    signed_in: FlaskClient, clock: Clock, worker: Agent
) -> None:
    page, short_id = f"/dashboard/agents/{worker.agent_id}", credentials(worker)[0][:8]

    def listed() -> list[list[str]]:
        rows = Page(signed_in.get(page)).table("Credentials")
        return sorted((row[:5] for row in rows), key=lambda row: row[0] == short_id)

    form = {"label": " laptop ", "expiresAt": "2026-04-16"}
    [secret] = re.findall(r"aidp_\w+", post(signed_in, f"{page}/rotate", **form).text)
    laptop = ["laptop", "secret", "Wed 15 Apr, 12:00", "never", "Thu 16 Apr, 00:00"]
    assert listed() == [laptop, [short_id, "secret", "Wed 15 Apr, 12:00", "never", "never"]]
    clock.now = datetime(2026, 4, 15, 23, 59, 59, tzinfo=UTC)
    assert Api(signed_in, worker).token(client_secret=secret).status_code == 200
    assert listed()[0][3] == "Wed 15 Apr, 23:59"
    clock.now = datetime(2026, 4, 16, tzinfo=UTC)
    assert Api(signed_in, worker).token(client_secret=secret).status_code == 401
    assert [row[0] for row in listed()] == ["laptop expired", short_id]


def test_one_credential_too_many_is_refused_with_a_sentence(signed_in: FlaskClient, worker: Agent) -> None:
    path = f"/dashboard/agents/{worker.agent_id}/rotate"
    for _ in range(MAX_CREDENTIALS - 1):
        assert post(signed_in, path).status_code == 200
    response = post(signed_in, path, label="one more")
    assert refusal(response) == (409, f"The agent has {MAX_CREDENTIALS} credentials; revoke one first.")
    assert Page(response).typed["label"] == "one more"


def test_deletes_after_a_confirmation_that_says_what_it_ends(signed_in: FlaskClient, worker: Agent) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    confirmation = Page(signed_in.get(f"{page}/delete")).words
    assert (
        "its current tokens are refused at once. Its credential is revoked. A deletion cannot be undone."
        in confirmation
    )
    assert "signed in as this agent" not in confirmation
    post(signed_in, f"{page}/rotate")
    assert "Its 2 credentials are revoked." in Page(signed_in.get(f"{page}/delete")).text
    assert status(worker) == "active"
    assert led_to(post(signed_in, f"{page}/delete")) == "/dashboard/agents"
    assert Api(signed_in, worker).token().status_code == 401
    assert signed_in.get(f"{page}/edit").status_code == 404
    assert f"{page}/edit" not in Page(signed_in.get(page)).links


def test_says_that_one_suspends_oneself_and_ends_the_session(signed_in: FlaskClient, acme: Agent) -> None:
    page = f"/dashboard/agents/{acme.agent_id}"
    assert "so you will be signed out" in Page(signed_in.get(f"{page}/suspend")).text
    assert post(signed_in, f"{page}/suspend").status_code == 303
    assert signed_in.get(page).status_code == 401


@pytest.mark.parametrize("scopes", [["analytics:read"], ["analytics:read", "agents:read"]], ids=str)
def test_who_reads_agents_sees_their_credentials_and_scopes(
    client: FlaskClient, acme: Agent, worker: Agent, scopes: list[str]
) -> None:
    with_session(client, acme.colleague("reader", scopes))
    page, may_read = Page(client.get(f"/dashboard/agents/{worker.agent_id}")), "agents:read" in scopes
    assert ("Credentials with their last use and tokens" in page.tables) == may_read
    assert ("Scopes" in page.text.split()) == may_read
