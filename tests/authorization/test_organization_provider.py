"""People sign in at the own OpenID provider of their organization, which reaches nobody else's people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.federation.issuer_keys import MAX_WAITING_PER_ORGANIZATION
from agentidp.registry.openid_providers import reencrypt_secrets
from tests.audit.conftest import events_of
from tests.authorization.conftest import Editor, editor_of, error_of, made, returned
from tests.authorization.test_person_page import buttons, ended
from tests.citus import WATCHES_THE_COORDINATOR
from tests.conftest import Cast, settings_for
from tests.dashboard.company import CLIENT_ID, CLIENT_SECRET, Company, company
from tests.dashboard.conftest import Page, post, with_session
from tests.factories import NOON, Agent, Clock, execute, wait_until

SIGN_IN = "/dashboard/sign-in/oidc"
PROVIDER = {"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET, "roleClaim": "roles", "viewers": ["watchers"]}


@pytest.fixture
def own() -> Iterator[Company]:
    """Acme's own provider, at which Anna signs in. It claims that she belongs to another organization."""
    with company() as running:
        running.claims["organization"] = "org-11111111-1111-1111-1111-111111111111"
        yield running


@pytest.fixture
def provider_id(editor: Editor, own: Company) -> str:
    """The id of Acme's own provider, whose people a rule lets act by the editor."""
    rule = {
        "name": "own people",
        "trust": {"issuer": own.issuer, "claims": {"roles": "staff"}},
        "agentIds": [editor.agent.client_id],
        "resources": [{"resource": editor.resource, "scopes": ["tickets:read"]}],
    }
    editor.make("delegation-rules", rule)
    return str(editor.make("openid-providers", PROVIDER | {"issuer": own.issuer})["openidProviderId"])


def led(client: FlaskClient, path: str, own: Company) -> str:
    """The address at the own provider to which the page at a path links. The page does not lead there by itself."""
    response = client.get(path)
    page = Page(response)
    assert (response.status_code, "Location" in response.headers) == (200, False), response.text
    assert [meta for meta in page.all("meta") if "http-equiv" in meta] == []
    assert f"Sign in at 127.0.0.1:{own.server.server_port}" in page.words
    [link] = [link for link in page.links if link.startswith(own.issuer)]
    return link


def authorized(editor: Editor, own: Company) -> TestResponse:
    """The page after a person has signed in at the own provider."""
    return editor.client.get(own.authorize(led(editor.client, f"/authorize?{editor.query()}", own)))


def change(editor: Editor, provider_id: str, **members: Any) -> None:
    path, headers = f"/api/v1/openid-providers/{provider_id}", editor.admin.bearer()
    assert editor.client.patch(path, json=members, headers=headers).status_code == 200


def delete(editor: Editor, provider_id: str) -> None:
    path = f"/api/v1/openid-providers/{provider_id}"
    assert editor.client.delete(path, headers=editor.admin.bearer()).status_code == 204


CHANGES: list[Callable[[Editor, str], None]] = [
    lambda editor, provider_id: change(editor, provider_id, viewers=[]),
    delete,
]


class TestSignIn:
    def test_a_person_lets_an_agent_act(self, editor: Editor, own: Company, provider_id: str) -> None:
        page = authorized(editor, own)
        assert "You are signed in as Anna Berg" in Page(page).words
        code = returned(editor.answer(page))["code"]
        assert editor.redeem(code).status_code == 200
        query = "select issuer from grants where organization_id = %s"
        assert execute(editor.admin.database_url, query, editor.admin.organization_id) == [(own.issuer,)]

    def test_a_person_sees_the_dashboard_of_the_organization_only(
        self, editor: Editor, own: Company, provider_id: str, cast: Cast
    ) -> None:
        own.claims["organization"] = cast.outsider.organization_id
        path = f"{SIGN_IN}?organization={editor.admin.organization_id}"
        assert editor.client.get(own.authorize(led(editor.client, path, own))).status_code == 200
        page = Page(editor.client.get("/dashboard"))
        assert "Anna Berg (viewer)" in page.words
        assert "Acme" in page.words

    def test_without_a_role_nobody_sees_the_dashboard(self, editor: Editor, own: Company, provider_id: str) -> None:
        own.claims["roles"] = ["staff"]
        path = f"{SIGN_IN}?organization={editor.admin.organization_id}"
        assert editor.client.get(own.authorize(led(editor.client, path, own))).status_code == 403

    def test_a_public_client_needs_no_secret(self, editor: Editor, own: Company, provider_id: str) -> None:
        change(editor, provider_id, clientSecret=None)
        own.is_public = True
        assert authorized(editor, own).status_code == 200

    def test_a_person_sees_and_ends_what_the_person_has_allowed(
        self, editor: Editor, own: Company, provider_id: str
    ) -> None:
        editor.redeem(returned(editor.answer(authorized(editor, own)))["code"])
        path = f"/authorize/grants?organization={editor.admin.organization_id}"
        page = editor.client.get(own.authorize(led(editor.client, path, own)))
        assert len(buttons(page)) == 1
        assert buttons(ended(page, editor.client)) == []


class TestReachesNobodyElse:
    def test_other_organizations_keep_the_provider_of_the_instance(
        self, editor: Editor, own: Company, provider_id: str, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        other = editor_of(client, provider, cast.outsider)
        assert other.authorize().status_code == 200
        begun = client.get(f"{SIGN_IN}?organization={cast.outsider.organization_id}")
        assert begun.headers["Location"].startswith(provider.issuer)
        assert own.requests == []

    def test_the_resource_chooses_the_provider_for_an_app_with_a_document(
        self, editor: Editor, own: Company, provider_id: str, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        other = editor_of(client, provider, cast.outsider)
        uri = "https://app.example/client.json"
        led(client, f"/authorize?{editor.query(client_id=uri, resource=editor.resource.upper())}", own)
        for resource in (other.resource, "https://nobody.example", "not a resource\0", None):
            begun = client.get(f"/authorize?{editor.query(client_id=uri, resource=resource)}")
            assert begun.headers["Location"].startswith(provider.issuer)

    @pytest.mark.parametrize("path", ["/authorize", SIGN_IN])
    def test_each_provider_has_a_callback_of_its_own(
        self, editor: Editor, own: Company, provider_id: str, provider: Company, cast: Cast, path: str
    ) -> None:
        begin = f"/authorize?{editor.query()}" if path == "/authorize" else f"{path}?organization="
        begin += "" if path == "/authorize" else editor.admin.organization_id
        address = led(editor.client, begin, own)
        [redirect_uri] = parse_qs(urlsplit(address).query)["redirect_uri"]
        assert redirect_uri == f"http://localhost:3000{path}/callback/{editor.admin.organization_id}"
        callback, query = own.authorize(address).split("?")
        for other in (f"{path}/callback", f"{path}/callback/{cast.outsider.organization_id}", f"{path}/callback/org-x"):
            assert editor.client.get(f"{other}?{query}").status_code == 400
        # And a response of the instance's provider is not accepted for the organization's.
        begun = editor.client.get(SIGN_IN if path == SIGN_IN else "/authorize/grants").headers["Location"]
        _, query = provider.authorize(begun).split("?")
        assert editor.client.get(f"{callback}?{query}").status_code == 400
        assert "/token" not in own.requests + provider.requests

    def test_a_response_of_another_issuer_is_refused(self, editor: Editor, own: Company, provider_id: str) -> None:
        path = own.authorize(led(editor.client, f"/authorize?{editor.query()}", own))
        url = urlsplit(path)
        query = {name: value for name, [value] in parse_qs(url.query).items()}
        assert editor.client.get(f"{url.path}?{urlencode(query | {'iss': 'https://b.example'})}").status_code == 403
        assert "/token" not in own.requests

    def test_a_suspended_organization_leads_nobody_to_its_provider(
        self, editor: Editor, own: Company, provider_id: str
    ) -> None:
        editor.suspend_organization()
        begun = editor.client.get(f"/authorize?{editor.query()}")
        assert begun.headers["Location"].startswith(editor.provider.issuer)

    @pytest.mark.parametrize("organization", ["org-x", "", "\0", "org-11111111-1111-1111-1111-111111111111"])
    def test_an_unknown_organization_has_the_provider_of_the_instance(
        self, client: FlaskClient, provider: Company, organization: str
    ) -> None:
        for path in (SIGN_IN, "/authorize/grants"):
            begun = client.get(path, query_string={"organization": organization})
            assert begun.headers["Location"].startswith(provider.issuer)


class TestChanges:
    """A sign-in, a form, a session and a grant of a provider that is changed or deleted."""

    @pytest.mark.parametrize("do", CHANGES)
    def test_end_a_sign_in(
        self, editor: Editor, own: Company, provider_id: str, do: Callable[[Editor, str], None]
    ) -> None:
        path = own.authorize(led(editor.client, f"/authorize?{editor.query()}", own))
        do(editor, provider_id)
        response = editor.client.get(path)
        assert (response.status_code, "/token" in own.requests) == (400, False)

    @pytest.mark.parametrize("do", CHANGES)
    @pytest.mark.parametrize("answer", ["allow", "refuse"])
    def test_end_a_consent(
        self, editor: Editor, own: Company, provider_id: str, do: Callable[[Editor, str], None], answer: str
    ) -> None:
        page = authorized(editor, own)
        do(editor, provider_id)
        assert editor.answer(page, answer).status_code == 400
        assert editor.stored_grants() == 0

    @WATCHES_THE_COORDINATOR
    def test_a_consent_waits_for_a_file_that_is_applied(self, editor: Editor, own: Company, provider_id: str) -> None:
        """Both lock the organization before the provider. In another order, each could wait for the other."""
        page, url, organization_id = authorized(editor, own), editor.admin.database_url, editor.admin.organization_id
        waits = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        with ThreadPoolExecutor() as pool:
            with connect(url) as connection, operator_transaction(connection, organization_id, NOON) as file:
                file.fetch("organizations/lock_organization")
                answer = pool.submit(editor.answer, page)
                wait_until(lambda: execute(url, waits))
                file.fetch("openid/lock_provider")
            assert answer.result().status_code == 303

    def test_end_a_consent_at_the_provider_of_the_instance(self, editor: Editor, own: Company) -> None:
        page = editor.authorize()
        editor.make("openid-providers", {"issuer": own.issuer, "clientId": CLIENT_ID})
        assert editor.answer(page).status_code == 400
        assert editor.stored_grants() == 0

    def test_end_a_persons_page(self, editor: Editor, own: Company, provider_id: str) -> None:
        editor.redeem(returned(editor.answer(authorized(editor, own)))["code"])
        path = f"/authorize/grants?organization={editor.admin.organization_id}"
        page = editor.client.get(own.authorize(led(editor.client, path, own)))
        change(editor, provider_id, viewers=[])
        assert ended(page, editor.client).status_code == 400
        assert editor.stored_grants() == 1

    @pytest.mark.parametrize("do", CHANGES)
    def test_end_the_sessions(
        self, editor: Editor, own: Company, provider_id: str, do: Callable[[Editor, str], None]
    ) -> None:
        path = f"{SIGN_IN}?organization={editor.admin.organization_id}"
        assert editor.client.get(own.authorize(led(editor.client, path, own))).status_code == 200
        assert editor.client.get("/dashboard").status_code == 200
        do(editor, provider_id)
        assert editor.client.get("/dashboard").status_code == 401

    def test_only_the_deletion_ends_the_grants_of_its_people_and_no_others(
        self, editor: Editor, own: Company, provider: Company
    ) -> None:
        others = editor.redeem(editor.code()).json["refresh_token"]
        rule = {
            "name": "own people",
            "trust": {"issuer": own.issuer},
            "agentIds": [editor.agent.client_id],
            "resources": [{"resource": editor.resource, "scopes": ["tickets:read"]}],
        }
        editor.make("delegation-rules", rule)
        provider_id = editor.make("openid-providers", PROVIDER | {"issuer": own.issuer})["openidProviderId"]
        token = editor.redeem(returned(editor.answer(authorized(editor, own)))["code"]).json["refresh_token"]
        change(editor, provider_id, viewers=[])
        token = editor.refresh(token).json["refresh_token"]
        session = with_session(editor.client, editor.admin)
        page = Page(session.get(f"/dashboard/openid-provider/{provider_id}/delete"))
        assert "1 grant of people gives no more tokens." in page.words, page.words[-500:]
        delete(editor, provider_id)
        assert error_of(editor.refresh(token)) == (400, "invalid_grant")
        assert editor.refresh(others).status_code == 200

    def test_people_of_the_instance_still_end_what_they_allowed(
        self, editor: Editor, own: Company, provider: Company
    ) -> None:
        editor.redeem(editor.code())
        editor.make("openid-providers", PROVIDER | {"issuer": own.issuer})
        begun = editor.client.get("/authorize/grants")
        page = editor.client.get(provider.authorize(begun.headers["Location"]))
        assert ended(page, editor.client).status_code == 200
        assert editor.stored_grants() == 0


class TestRequests:
    """A stranger or the organization makes the server send requests."""

    def test_the_metadata_are_fetched_once(self, editor: Editor, own: Company, provider_id: str) -> None:
        for _ in range(5):
            led(editor.client, f"/authorize?{editor.query()}", own)
        assert own.requests == ["/.well-known/openid-configuration", "/keys"]

    def test_an_internal_address_is_not_requested(
        self, editor: Editor, own: Company, provider_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = create_app(settings_for(editor.admin.database_url), clock=Clock())
        try:
            assert app.test_client().get(f"/authorize?{editor.query()}").status_code == 503
        finally:
            app.extensions["agentidp"].close()
        assert own.requests == []

    @pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint"])
    def test_nor_is_one_that_the_metadata_name(self, editor: Editor, own: Company, provider_id: str, name: str) -> None:
        own.metadata = {name: "http://10.0.0.1/" if name == "authorization_endpoint" else "https://10.0.0.1/"}
        begun = editor.client.get(f"/authorize?{editor.query()}")
        if name == "token_endpoint":
            [link] = [link for link in Page(begun).links if link.startswith(own.issuer)]
            begun = editor.client.get(own.authorize(link))
        assert begun.status_code == 503

    def test_an_address_that_a_browser_reads_differently_is_not_shown(
        self, editor: Editor, own: Company, provider_id: str
    ) -> None:
        """A browser would go to evil.example, but people would read the end of the host."""
        own.metadata = {"authorization_endpoint": r"https://evil.example\.login.acme.example/"}
        assert editor.client.get(f"/authorize?{editor.query()}").status_code == 503

    @pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys"])
    def test_nested_members_of_a_response_are_ignored(
        self, editor: Editor, own: Company, provider_id: str, path: str
    ) -> None:
        """They can be parsed by the thread that fetches them, but are too deep for the stack of a request."""
        _, headers, body = own.reply(path, {}, "")
        first_member = b'"kty"' if path == "/keys" else b'"issuer"'
        body = body.replace(first_member, b'"nested": ' + b"[" * 960 + b"]" * 960 + b", " + first_member)
        own.replies[path] = lambda: (200, headers, body)
        assert authorized(editor, own).status_code == 200

    def test_an_organization_has_few_places_to_exchange_codes(
        self, editor: Editor, own: Company, provider_id: str, cast: Cast
    ) -> None:
        reserve = editor.admin.services.issuer_tokens.keys.places.reserve
        path = own.authorize(led(editor.client, f"/authorize?{editor.query()}", own))
        with contextmanager_stack(reserve, editor.admin, MAX_WAITING_PER_ORGANIZATION):
            response = editor.client.get(path)
            # The browser reloads the page, and the sign-in is not consumed.
            assert (response.status_code, response.headers["Refresh"]) == (503, "1")
        with contextmanager_stack(reserve, cast.outsider, MAX_WAITING_PER_ORGANIZATION):
            assert editor.client.get(path).status_code == 200


@contextmanager
def contextmanager_stack(exchange: Callable[[str], Any], agent: Agent, number: int) -> Iterator[None]:
    """Occupy places of the agent's organization."""
    if not number:
        yield
        return
    with exchange(agent.organization_id), contextmanager_stack(exchange, agent, number - 1):
        yield


class TestSecret:
    SECRET = "the secret at the provider"

    def test_is_in_no_response_log_event_or_row(
        self, editor: Editor, own: Company, caplog: pytest.LogCaptureFixture, shared_app: Flask
    ) -> None:
        caplog.set_level("DEBUG")
        path = "/api/v1/openid-providers"
        new = {"issuer": own.issuer, "clientId": CLIENT_ID, "clientSecret": self.SECRET}
        bad = editor.client.post(path, json=new | {"viewers": "x"}, headers=editor.admin.bearer())
        created = editor.client.post(path, json=new, headers=editor.admin.bearer())
        address = f"{path}/{created.json['openidProviderId']}"
        change = {"clientSecret": f"new {self.SECRET}"}
        changed = editor.client.patch(address, json=change, headers=editor.admin.bearer())
        # The provider refuses the secret.
        refused = authorized(editor, own)
        session = with_session(editor.client, editor.admin)
        form = {"clientId": "not valid", "clientSecret": self.SECRET}
        typed = post(session, "/dashboard/openid-provider/edit", **form)
        read = editor.client.get(path, headers=editor.admin.bearer())
        responses = [bad, created, changed, refused, typed, read]
        assert [response.status_code for response in responses] == [400, 201, 200, 403, 400, 200]
        assert read.json["data"][0]["hasClientSecret"] is True
        events = events_of(editor.admin.database_url, editor.admin.organization_id)
        assert [event["action"] for event in events if "provider" in event["action"]] == [
            "openid_provider.created",
            "openid_provider.changed",
        ]
        query = "select sealed from openid_providers where organization_id = %s"
        [[sealed]] = execute(editor.admin.database_url, query, editor.admin.organization_id)
        texts = [*(response.text for response in responses), caplog.text, str(events), str(bytes(sealed))]
        assert [text for text in texts if self.SECRET in text] == []

    def test_is_encrypted_again(self, editor: Editor, own: Company, provider_id: str) -> None:
        url, previous = editor.admin.database_url, settings_for(editor.admin.database_url).instance_secret
        both = settings_for(url, secret_key=b"n" * 32, secret_key_previous=previous)
        changed, total = reencrypt_secrets(both)
        assert changed == total >= 1
        assert reencrypt_secrets(both) == (0, total)
        # The server still has the previous secret only.
        assert editor.client.get(f"/authorize?{editor.query()}").status_code == 503


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"issuer": "http://localhost:3000"}, "issuer"),
        ({"issuer": "spiffe://acme.example"}, "issuer"),
        ({"issuer": "http://acme.example"}, "issuer"),
        ({"issuer": "https://acme.example?x=y"}, "issuer"),
        ({"issuer": f"https://acme.example/{'x' * 200}"}, "issuer"),
        ({"issuer": "https://accounts.google.com", "viewers": ["*"]}, "viewers"),
        ({"issuer": "https://accounts.google.com", "administrators": ["*"]}, "administrators"),
        ({"clientId": "a b"}, "clientId"),
        ({"clientSecret": "\n"}, "clientSecret"),
        ({"viewers": ["a", "a"]}, "viewers"),
    ],
)
def test_is_refused(client: FlaskClient, cast: Cast, members: dict[str, Any], named: str) -> None:
    body = {"issuer": "https://login.example", "clientId": "x"} | members
    response = client.post("/api/v1/openid-providers", json=body, headers=cast.acme.bearer())
    assert (response.status_code, list(response.json["details"])) == (400, [named]), response.text


def test_an_organization_has_one(client: FlaskClient, cast: Cast) -> None:
    body = {"issuer": "https://login.example", "clientId": "x"}
    made(client, cast.acme, "openid-providers", body)
    again = client.post("/api/v1/openid-providers", json=body, headers=cast.acme.bearer())
    assert (again.status_code, again.json["code"]) == (409, "CONFLICT")


def test_is_added_and_changed_on_the_dashboard(client: FlaskClient, cast: Cast) -> None:
    session, path = with_session(client, cast.acme), "/dashboard/openid-provider"
    new = {"issuer": "https://login.example", "clientId": "x", "clientSecret": "hush", "provider": ""}
    assert "Add a provider" in Page(session.get(path)).words
    assert post(session, f"{path}/edit", **new | {"issuer": "http://login.example"}).status_code == 400
    assert post(session, f"{path}/edit", **new).headers["Location"] == path
    # The same form, sent by somebody who had opened it before.
    assert post(session, f"{path}/edit", **new).status_code == 409
    assert f"http://localhost:3000/authorize/callback/{cast.acme.organization_id}" in Page(session.get(path)).words
    assert post(session, f"{path}/edit", clientId="y", viewers="staff").status_code == 303
    [provider] = client.get("/api/v1/openid-providers", headers=cast.acme.bearer()).json["data"]
    expected = {"issuer": "https://login.example", "clientId": "y", "viewers": ["staff"], "hasClientSecret": True}
    assert provider | expected == provider
