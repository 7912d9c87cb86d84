"""A person sees and ends what the person has allowed, and nothing of anybody else."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.maintenance.erasure import delete_organization
from agentidp.openid.flows import LIFETIME
from tests.authorization.conftest import ISSUER, Editor, editor_of, error_of
from tests.conftest import Cast
from tests.dashboard.company import Company
from tests.dashboard.conftest import SAME_ORIGIN, Page
from tests.factories import NOON, Clock
from tests.helpers.introspection import INACTIVE, introspect


def opened(editor: Editor, client: FlaskClient | None = None) -> TestResponse:
    """The page after the person has signed in."""
    client = client or editor.client
    begun = client.get("/authorize/grants")
    assert begun.status_code == 302
    return client.get(editor.provider.authorize(begun.headers["Location"]))


def buttons(page: TestResponse) -> list[str]:
    """The grants that the buttons of the page end."""
    return [str(button["value"]) for button in Page(page).all("button") if button.get("name") == "grant"]


def ended(page: TestResponse, client: FlaskClient, grant_id: str = "", **headers: str) -> TestResponse:
    """Press the button of a grant."""
    form = {"visit": Page(page).typed["visit"], "grant": grant_id or buttons(page)[0]}
    return client.post("/authorize/grants", data=form, headers=headers or SAME_ORIGIN)


def test_shows_what_was_allowed_and_ends_it(editor: Editor) -> None:
    editor.code()  # A code that no client redeems is no grant in use.
    token = editor.redeem(editor.code(scope="tickets:read")).json
    page = opened(editor)
    words = Page(page).words
    assert page.status_code == 200
    assert f"May use Tickets {editor.resource} Permissions tickets:read" in words
    assert "You are signed in as Anna Berg. These apps of Acme can act for you:" in words
    assert "Allowed Wed 15 Apr, 12:00 UTC Last used Wed 15 Apr, 12:00 UTC Ends Fri 15 May, 12:00 UTC" in words
    after = ended(page, editor.client)
    assert (after.status_code, buttons(after)) == (200, [])
    assert "No app can act for you now." in Page(after).words
    second_click = ended(page, editor.client)
    assert (second_click.status_code, buttons(second_click)) == (200, [])
    assert "This permission had already ended." in Page(second_click).words
    assert error_of(editor.refresh(token["refresh_token"])) == (400, "invalid_grant")
    action, actor, members = editor.events()[-1]
    assert (action, members["agentId"]) == ("grant.ended", editor.agent.client_id)
    assert actor.startswith("anna-1 at ")


def test_the_tokens_of_an_ended_grant_are_inactive(editor: Editor) -> None:
    token = editor.redeem(editor.code()).json["access_token"]
    ended(opened(editor), editor.client)
    assert introspect(editor.client, editor.admin, token).json == INACTIVE


def test_shows_nothing_of_another_person_or_organization(
    editor: Editor, client: FlaskClient, provider: Company, cast: Cast
) -> None:
    editor.redeem(editor.code())
    [grant_id] = buttons(opened(editor))
    provider.claims["sub"] = "otto-2"
    otto = opened(editor)
    assert buttons(otto) == []
    # Otto sends the form of a page of his own with the grant of Anna.
    editor.redeem(editor.code())
    otto_words = Page(ended(opened(editor), client, grant_id)).words
    assert "This permission had already ended." in otto_words
    provider.claims["sub"] = "anna-1"
    editor_of(client, provider, cast.outsider)
    assert buttons(opened(editor)) == []
    provider.claims["organization"] = cast.acme.organization_id
    assert buttons(opened(editor)) == [grant_id]


def test_needs_an_organization(editor: Editor) -> None:
    for organization_id in ("org-none", None):
        editor.provider.claims["organization"] = organization_id
        response = opened(editor)
        assert response.status_code == 403
        assert "Your account belongs to no organization here." in Page(response).words


def test_a_deleted_organization_has_no_page(editor: Editor) -> None:
    editor.redeem(editor.code())
    page = opened(editor)
    delete_organization(editor.admin.database_url, editor.admin.organization_id, at=NOON)
    assert ended(page, editor.client).status_code == 404


def test_a_form_cannot_be_forged_kept_or_sent_by_another(editor: Editor, app: Flask, clock: Clock) -> None:
    editor.redeem(editor.code())
    page = opened(editor)
    other_browser = app.test_client()
    opened(editor, other_browser)
    assert ended(page, other_browser).status_code == 400
    assert ended(page, editor.client, Origin="https://evil.example").status_code == 403
    assert ended(page, editor.client, "x").status_code == 400
    # The form of a consent is no form of this page.
    consent = Page(editor.authorize()).typed["consent"]
    form = {"visit": consent, "grant": buttons(page)[0]}
    assert editor.client.post("/authorize/grants", data=form, headers=SAME_ORIGIN).status_code == 400
    clock.advance(seconds=LIFETIME.total_seconds())
    assert ended(page, editor.client).status_code == 400
    assert editor.stored_grants() == 1


def test_begins_again_if_the_organization_has_too_many_requests(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider's code has been used, so the request for the callback cannot be repeated."""
    monkeypatch.setattr("agentidp.services.fair_queue.MAX_REQUESTS_PER_ORGANIZATION", 0)
    page = opened(editor)
    assert (page.status_code, page.headers["Refresh"]) == (503, f"2; url={ISSUER}/authorize/grants")
