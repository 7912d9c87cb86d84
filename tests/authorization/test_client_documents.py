"""Apps whose client_id is the address of their metadata: a rule admits them, and nobody else makes the server fetch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.authorization import client_documents
from agentidp.oauth.client_document import MAX_CLIENT_URI, agent_id_of, is_client_uri
from agentidp.oauth.throttle import INTERVAL, MAX_FAILURES_PER_MINUTE
from agentidp.outbound.places import Places
from agentidp.services.fair_queue import MAX_RUNNING_PER_ORGANIZATION
from tests.authorization.conftest import ISSUER, WEB_URI, Editor, editor_of, error_of, made, returned
from tests.conftest import Cast
from tests.dashboard.company import Company
from tests.dashboard.conftest import Page
from tests.factories import Clock, execute
from tests.federation.conftest import published
from tests.federation.https_issuer import HttpsIssuer
from tests.oauth.clients import claims_of

__all__ = ["published"]

PATH = "/oauth/client.json"


@dataclass
class App:
    """An app that publishes its document, and a browser in which people use it."""

    editor: Editor
    publisher: HttpsIssuer
    rule_id: str

    @property
    def uri(self) -> str:
        """The ``client_id``."""
        return self.publisher.url + PATH

    @property
    def host(self) -> str:
        """The host that rules name."""
        return f"localhost:{self.publisher.port}"

    @property
    def agent_id(self) -> str:
        """The id that the app's agent has or will have."""
        return str(agent_id_of(self.editor.admin.organization_id, self.uri))

    def publish(self, headers: dict[str, str] | None = None, status: int = 200, **changes: Any) -> None:
        """Publish the document; ``None`` leaves a member out."""
        document = {
            "client_id": self.uri,
            "client_name": "Somebody Else's App",
            "logo_uri": "https://elsewhere.example/logo.png",
            "redirect_uris": [WEB_URI, "http://127.0.0.1/callback"],
            "token_endpoint_auth_method": "none",
        } | changes
        body = {name: value for name, value in document.items() if value is not None}
        self.publisher.json(PATH, body, status, headers)

    def authorize(self, **changes: str | None) -> TestResponse:
        """Open the app's request, and sign in."""
        return self.editor.authorize(**{"client_id": self.uri} | changes)

    def code(self, **changes: str | None) -> str:
        """Let the app act; the code that it gets."""
        return str(returned(self.editor.answer(self.authorize(**changes)))["code"])

    def tokens(self, **changes: str | None) -> Any:
        """Let the app act; the response of the token endpoint."""
        response = self.editor.redeem(self.code(), client_id=self.uri, **changes)
        assert response.status_code == 200, response.text
        return response

    def refresh(self, token: str, **changes: str | None) -> TestResponse:
        """Refresh as the app does."""
        return self.editor.refresh(token, **{"client_id": self.uri} | changes)

    def agents(self) -> list[dict[str, Any]]:
        """The agents of the organization that documents describe."""
        admin = self.editor.admin
        agents = self.editor.client.get("/api/v1/agents?limit=100", headers=admin.bearer()).json["data"]
        return [agent for agent in agents if agent["clientUri"] is not None]

    def allow_host(self, host: str) -> str:
        """Add a rule that admits a host; its id."""
        return host_rule(self.editor, host)


def host_rule(editor: Editor, host: str, **trust: Any) -> str:
    rule = {
        "name": f"apps of {host}",
        "trust": {"issuer": editor.provider.issuer, "claims": {"roles": "staff"}} | trust,
        "clientHosts": [host],
        "resources": [{"resource": editor.resource, "scopes": ["tickets:read"]}],
    }
    return str(editor.make("delegation-rules", rule)["delegationRuleId"])


@pytest.fixture
def app_of_host(editor: Editor, published: HttpsIssuer) -> App:
    app = App(editor, published, host_rule(editor, f"localhost:{published.port}"))
    app.publish()
    return app


def test_an_app_gets_an_agent_at_first_sight_and_its_tokens_are_counted(app_of_host: App) -> None:
    response = app_of_host.tokens()
    claims = claims_of(response)
    assert (claims["client_id"], claims["act"]["sub"]) == (app_of_host.agent_id, app_of_host.agent_id)
    assert (claims["scope"], claims["delegation_rule_id"]) == ("tickets:read", app_of_host.rule_id)
    [agent] = app_of_host.agents()
    assert {name: agent[name] for name in ("agentId", "name", "clientUri", "scopes", "redirectUris")} == {
        "agentId": app_of_host.agent_id,
        "name": app_of_host.host,
        "clientUri": app_of_host.uri,
        "scopes": ["tickets:read"],
        "redirectUris": [WEB_URI, "http://127.0.0.1/callback"],
    }
    refreshed = app_of_host.refresh(response.json["refresh_token"])
    assert claims_of(refreshed)["client_id"] == app_of_host.agent_id
    # The same app again: no second agent, and the document is fresh.
    app_of_host.tokens()
    assert len(app_of_host.agents()) == 1
    assert app_of_host.publisher.requests == [PATH]


def test_nothing_is_fetched_or_stored_before_the_person_has_signed_in(app_of_host: App) -> None:
    response = app_of_host.editor.client.get(f"/authorize?{app_of_host.editor.query(client_id=app_of_host.uri)}")
    assert response.status_code == 302
    assert (app_of_host.publisher.requests, app_of_host.agents()) == ([], [])


@pytest.mark.parametrize("why", ["another host", "another port", "another person", "another resource", "no resource"])
def test_nothing_is_fetched_unless_a_rule_admits_the_app(editor: Editor, published: HttpsIssuer, why: str) -> None:
    host = {"another host": "elsewhere.example", "another port": "localhost"}.get(why, f"localhost:{published.port}")
    app = App(editor, published, host_rule(editor, host, **({"claims": {"roles": "x"}} if "person" in why else {})))
    app.publish()
    resource = {"another resource": "https://elsewhere.example", "no resource": None}.get(why, editor.resource)
    page = app.authorize(resource=resource)
    assert (page.status_code, "Location" in page.headers) == (400, False)
    # Nobody has checked the address of the app, so the page does not lead there.
    assert WEB_URI not in page.text
    assert (published.requests, app.agents()) == ([], [])


def test_a_person_of_another_organization_does_not_get_in(
    app_of_host: App, client: FlaskClient, provider: Company, cast: Cast
) -> None:
    """The person's organization decides, whatever the resource: another organization's rules admit nobody else."""
    provider.claims["organization"] = cast.outsider.organization_id
    assert app_of_host.authorize().status_code == 400
    assert app_of_host.publisher.requests == []
    other = editor_of(client, provider, cast.outsider)
    host_rule(other, app_of_host.host)
    # The other organization has its own agent, and no way to this resource.
    assert app_of_host.authorize().status_code == 400
    assert other.authorize(client_id=app_of_host.uri).status_code == 200
    assert app_of_host.agents() == []


REDIRECT = {"Location": "https://elsewhere.example/client.json"}
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("client_id of another app", {"client_id": "https://elsewhere.example/client.json"}),
    ("no client_id", {"client_id": None}),
    ("by redirect", {"status": 302, "headers": REDIRECT}),
    ("not found", {"status": 404}),
    ("too large", {"padding": "x" * client_documents.MAX_BODY}),
    ("no client_name", {"client_name": None}),
    ("empty client_name", {"client_name": ""}),
    ("secret", {"client_secret": "x"}),
    ("expiry of a secret", {"client_secret_expires_at": 0}),
    ("shared secret", {"token_endpoint_auth_method": "client_secret_basic"}),
    ("key", {"token_endpoint_auth_method": "private_key_jwt"}),
    ("no redirect URIs", {"redirect_uris": None}),
    ("strange redirect URIs", {"redirect_uris": [7, "javascript:/x", "http://app.example/"]}),
    ("too many redirect URIs", {"redirect_uris": [f"https://a.example/{number}" for number in range(51)]}),
]


@pytest.mark.parametrize("changes", [changes for _, changes in WRONG], ids=[name for name, _ in WRONG])
def test_a_document_is_refused(app_of_host: App, changes: dict[str, Any]) -> None:
    app_of_host.publish(**changes)
    page = app_of_host.authorize()
    assert (page.status_code, "Location" in page.headers) == (400, False)
    assert app_of_host.agents() == []


def test_after_failed_readings_the_same_person_waits_and_others_do_not(
    app_of_host: App, provider: Company, clock: Clock
) -> None:
    """Nobody can make the server request a host again and again, or keep others from an app."""
    app_of_host.publish(status=404)
    for _ in range(MAX_FAILURES_PER_MINUTE):
        assert app_of_host.authorize().status_code == 400
    assert app_of_host.authorize(client_id=f"{app_of_host.publisher.url}/other.json").status_code == 503
    assert app_of_host.publisher.requests == [PATH] * MAX_FAILURES_PER_MINUTE
    app_of_host.publish()
    provider.claims["sub"] = "ben-1"
    assert app_of_host.authorize().status_code == 200
    clock.advance(seconds=301)
    provider.claims["sub"] = "anna-1"
    assert app_of_host.authorize().status_code == 200


def test_requests_of_the_organization_run_while_a_document_is_read(app_of_host: App, app: Flask) -> None:
    """A slow host would otherwise take turns from every organization."""
    queue, organization_id = app.extensions["agentidp"].fair_queue, app_of_host.editor.admin.organization_id
    document = app_of_host.publisher.pages[PATH]

    def enter_and_reply() -> Any:
        turns = [queue.enter(organization_id, max_wait=0) for _ in range(MAX_RUNNING_PER_ORGANIZATION)]
        for turn in turns:
            turn.leave()
        return document

    app_of_host.publisher.pages[PATH] = enter_and_reply
    assert app_of_host.authorize().status_code == 200
    assert queue.is_empty()


def test_an_organization_without_a_place_waits(app_of_host: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page begins the sign-in again by itself, as often as needed."""
    monkeypatch.setattr(client_documents, "_places", Places(1, 1))
    browser, provider = app_of_host.editor.client, app_of_host.editor.provider
    query = app_of_host.editor.query(client_id=app_of_host.uri, state="a;b&\u00fc")
    with client_documents._places.reserve("org-1"):
        for _ in range(2):
            page = app_of_host.authorize(state="a;b&\u00fc")
            assert (page.status_code, page.headers["Retry-After"]) == (503, "2")
            assert "This page tries again by itself." in Page(page).words
            wait, _, address = page.headers["Refresh"].partition("; url=")
            assert (wait, address) == ("2", f"{ISSUER}/authorize?{query}")
    assert app_of_host.publisher.requests == []
    begun = browser.get(address.removeprefix(ISSUER))
    assert browser.get(provider.authorize(begun.headers["Location"])).status_code == 200


def test_a_document_that_is_not_json_is_refused(app_of_host: App) -> None:
    app_of_host.publisher.pages[PATH] = 200, {}, b"<html>"
    assert app_of_host.authorize().status_code == 400


@pytest.mark.parametrize(
    ("content_type", "is_accepted"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/oauth-client+json", True),
        ("text/plain", False),
        ("text/html", False),
        ("application/jsonp", False),
    ],
)
def test_a_file_that_somebody_uploaded_is_no_document(app_of_host: App, content_type: str, is_accepted: bool) -> None:
    """A host that shows the text of others sends another media type."""
    app_of_host.publish({"Content-Type": content_type})
    assert (app_of_host.authorize().status_code == 200) is is_accepted


def test_the_agents_id_is_no_way_around_the_document(app_of_host: App) -> None:
    """By its id, the app would keep a redirect URI that the document has lost, and the page would not name the host."""
    app_of_host.tokens()
    rule = {
        "name": "by agent",
        "trust": {"issuer": app_of_host.editor.provider.issuer},
        "agentIds": [app_of_host.agent_id],
        "resources": [{"resource": app_of_host.editor.resource, "scopes": ["tickets:read"]}],
    }
    app_of_host.editor.make("delegation-rules", rule)
    query = app_of_host.editor.query(client_id=app_of_host.agent_id)
    assert app_of_host.editor.client.get(f"/authorize?{query}").status_code == 400


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254"])
def test_an_internal_address_is_refused(editor: Editor, address: str) -> None:
    """The operator allows the loopback in these tests, and nothing else."""
    host_rule(editor, address)
    page = editor.authorize(client_id=f"https://{address}/client.json")
    assert (page.status_code, "not allowed" in page.text or "not public" in page.text) == (400, True), page.text


def test_a_redirect_uri_must_be_in_the_document(app_of_host: App) -> None:
    page = app_of_host.authorize(redirect_uri="https://elsewhere.example/callback")
    assert (page.status_code, "Location" in page.headers) == (400, False)
    assert app_of_host.authorize(redirect_uri="http://127.0.0.1:49152/callback").status_code == 200


def test_changed_redirect_uris_end_what_people_have_allowed(app_of_host: App, clock: Clock) -> None:
    response = app_of_host.tokens()
    clock.advance(seconds=299)
    app_of_host.publish(redirect_uris=[WEB_URI, "https://new.example/callback"])
    # The document is still fresh, so the new address is unknown.
    assert app_of_host.authorize(redirect_uri="https://new.example/callback").status_code == 400
    clock.advance(seconds=2)
    asked = app_of_host.authorize(redirect_uri="https://new.example/callback")
    assert asked.status_code == 200
    assert app_of_host.editor.stored_grants() == 0
    assert error_of(app_of_host.refresh(response.json["refresh_token"])) == (400, "invalid_grant")
    [agent] = app_of_host.agents()
    assert agent["redirectUris"] == [WEB_URI, "https://new.example/callback"]


def test_an_address_that_the_document_has_lost_gets_no_code(app_of_host: App, clock: Clock) -> None:
    """Also not if the person was asked before, and answers now."""
    asked = app_of_host.authorize(redirect_uri=WEB_URI)
    clock.advance(seconds=301)
    app_of_host.publish(redirect_uris=["https://new.example/callback"])
    app_of_host.authorize(redirect_uri="https://new.example/callback")
    assert app_of_host.editor.answer(asked).status_code == 400
    assert app_of_host.editor.stored_grants() == 0


def test_an_unchanged_document_ends_nothing(app_of_host: App, clock: Clock) -> None:
    """Another name, or the same addresses in another order, is no change."""
    response = app_of_host.tokens()
    clock.advance(seconds=301)
    app_of_host.publish(client_name="New name", redirect_uris=["http://127.0.0.1/callback", WEB_URI])
    app_of_host.authorize()
    assert app_of_host.publisher.requests == [PATH, PATH]
    app_of_host.authorize()
    assert app_of_host.publisher.requests == [PATH, PATH]
    assert app_of_host.refresh(response.json["refresh_token"]).status_code == 200


@pytest.mark.parametrize(("max_age", "seconds"), [(3600, 3600), (1, 300), (10_000_000, 86_400)])
def test_a_document_is_cached_as_http_says(app_of_host: App, clock: Clock, max_age: int, seconds: int) -> None:
    app_of_host.publish({"Cache-Control": f"max-age={max_age}"})
    app_of_host.authorize()
    query = "select document_fresh_until from agents where agent_id = %s"
    [[fresh_until]] = execute(app_of_host.editor.admin.database_url, query, app_of_host.agent_id)
    assert fresh_until - clock() == timedelta(seconds=seconds)


def test_the_page_names_the_host_and_nothing_that_the_document_claims(app_of_host: App) -> None:
    page = app_of_host.authorize()
    assert app_of_host.host in page.text
    assert "Somebody" not in page.text
    assert "logo" not in page.text
    # The page shows the host even after an administrator has renamed the agent.
    path = f"/api/v1/agents/{app_of_host.agent_id}"
    admin = app_of_host.editor.admin
    assert app_of_host.editor.client.patch(path, json={"name": "Desk"}, headers=admin.bearer()).status_code == 200
    page = app_of_host.authorize()
    assert ("Desk" in page.text, app_of_host.host in page.text) == (True, True)


def test_a_code_is_for_its_app(app_of_host: App) -> None:
    editor, code = app_of_host.editor, app_of_host.code()
    for client_id in (app_of_host.uri + "x", editor.agent.client_id, "https://elsewhere.example/client.json"):
        assert editor.redeem(code, client_id=client_id).status_code in (400, 401)
    assert editor.redeem("x" * 107, client_id=app_of_host.uri).status_code in (400, 401)
    # The agent's own id is the same client.
    assert editor.redeem(code, client_id=app_of_host.agent_id).status_code == 200


def test_a_refresh_token_is_for_its_app_and_revoked_by_it(app_of_host: App) -> None:
    token = app_of_host.tokens().json["refresh_token"]
    editor = app_of_host.editor
    assert error_of(app_of_host.refresh(token, client_id=app_of_host.uri + "x")) == (401, "invalid_client")
    revoked = editor.client.post("/api/v1/token/revoke", data={"token": token, "client_id": app_of_host.uri})
    assert revoked.status_code == 200
    assert error_of(app_of_host.refresh(token)) == (400, "invalid_grant")


def delete_agent(app: App) -> None:
    path, headers = f"/api/v1/agents/{app.agent_id}", app.editor.admin.bearer()
    assert app.editor.client.delete(path, headers=headers).status_code == 204


def suspend_agent(app: App) -> None:
    path, headers = f"/api/v1/agents/{app.agent_id}", app.editor.admin.bearer()
    assert app.editor.client.patch(path, json={"status": "suspended"}, headers=headers).status_code == 200


def delete_rule(app: App) -> None:
    path, headers = f"/api/v1/delegation-rules/{app.rule_id}", app.editor.admin.bearer()
    assert app.editor.client.delete(path, headers=headers).status_code == 204


@pytest.mark.parametrize("end", [delete_agent, suspend_agent, delete_rule])
def test_nothing_outlives_the_agent_and_the_rule(app_of_host: App, end: Callable[[App], None]) -> None:
    token = app_of_host.tokens().json["refresh_token"]
    end(app_of_host)
    assert app_of_host.refresh(token).status_code in (400, 401)
    page = app_of_host.authorize()
    assert page.status_code in (303, 400)
    assert "code=" not in page.headers.get("Location", "")
    # Deleting the agent is for ever.
    assert len(app_of_host.agents()) == (end is not delete_agent)


def test_an_organization_has_a_maximum_of_apps(app_of_host: App, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_documents, "MAX_DOCUMENTS", 1)
    assert app_of_host.authorize().status_code == 200
    other = app_of_host.uri.replace("client.json", "other.json")
    document = {"client_id": other, "client_name": "Other", "redirect_uris": [WEB_URI]}
    app_of_host.publisher.json("/oauth/other.json", document)
    assert app_of_host.authorize(client_id=other).status_code == 400
    # The same person cannot make the server request the document again and again.
    for _ in range(MAX_FAILURES_PER_MINUTE - 1):
        assert app_of_host.authorize(client_id=other).status_code == 400
    assert app_of_host.authorize(client_id=other).status_code == 503
    assert app_of_host.publisher.requests.count("/oauth/other.json") == MAX_FAILURES_PER_MINUTE
    clock.advance(seconds=INTERVAL.seconds)
    monkeypatch.setattr(client_documents, "MAX_DOCUMENTS", 2)
    assert app_of_host.authorize(client_id=other).status_code == 200
    names = {agent["name"] for agent in app_of_host.agents()}
    assert len(names) == 2
    assert all(name.startswith(app_of_host.host) for name in names)


def test_an_organization_reads_one_document_at_a_time(app_of_host: App) -> None:
    statuses, document = [], app_of_host.publisher.pages[PATH]

    def slow() -> Any:
        # While a document is read for the organization, its next request must wait.
        statuses.append(app_of_host.authorize(client_id=app_of_host.uri).status_code)
        return document

    app_of_host.publisher.pages[PATH] = slow
    assert app_of_host.authorize().status_code == 200
    assert statuses == [503]


def test_a_rule_names_an_agent_or_a_host(editor: Editor) -> None:
    rule: dict[str, Any] = {"name": "r", "trust": {"issuer": editor.provider.issuer}}
    rule["resources"] = [{"resource": editor.resource, "scopes": ["tickets:read"]}]
    for hosts in ([], ["UPPER.example"], ["https://app.example"], ["*.example"], ["a.example", "a.example"], [""]):
        body = rule | {"clientHosts": hosts}
        response = editor.client.post("/api/v1/delegation-rules", json=body, headers=editor.admin.bearer())
        assert response.status_code == 400, hosts
    assert made(editor.client, editor.admin, "delegation-rules", rule | {"clientHosts": ["app.example"]})


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("https://app.example/client.json", True),
        ("https://app.example:8443/", True),
        ("https://app.example/a?b", True),
        ("https://app.example", False),
        ("http://app.example/client.json", False),
        ("https://APP.example/client.json", False),
        ("https://app.example/a/../b", False),
        ("https://app.example/a/%2E%2e/b", False),
        ("https://app.example/.", False),
        ("https://app.example/a#b", False),
        ("https://user@app.example/a", False),
        ("https://app.example/a b", False),
        ("https://app.example/" + "a" * MAX_CLIENT_URI, False),
        ("https://app.example\n/", False),
        ("https:///a", False),
    ],
)
def test_the_form_of_an_address(text: str, is_one: bool) -> None:
    assert is_client_uri(text) is is_one


def test_the_agent_of_another_organization_is_another_one(cast: Cast) -> None:
    uri = "https://app.example/client.json"
    assert agent_id_of(cast.acme.organization_id, uri) != agent_id_of(cast.outsider.organization_id, uri)
    assert execute(cast.acme.database_url, "select 1 from agents where client_uri = %s", uri) == []
