"""People sign in at their company's provider, see and do what their role allows, and sign out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.dashboard import session
from agentidp.dashboard.oidc_sign_in import PATH
from agentidp.dashboard.person import ADMINISTRATOR, VIEWER
from agentidp.dashboard.return_page import MAX_LENGTH
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.maintenance.erasure import delete_organization
from agentidp.openid.flows import LIFETIME, MAX_CHARACTERS
from agentidp.registry.organizations import update_organization
from agentidp.services import Services
from tests.conftest import Cast, _fresh_database, settings_for
from tests.dashboard.company import CLIENT_ID, CLIENT_SECRET, Company
from tests.dashboard.conftest import ENDED, Page, Wire, counted, led_to, post, refused, store_cookies, with_cookie
from tests.factories import NOON, Agent, Api, Clock, make_finding
from tests.helpers.oidc import UNKNOWN, begin, events, sign_in


@pytest.fixture(scope="module")
def shared_app(postgres_url: str, template: str, running_provider: Company) -> Iterator[Flask]:
    """The application with the provider's settings."""
    with contextmanager(_fresh_database)(postgres_url, template) as url:
        app = create_app(settings_for(url, oidc=running_provider.settings()), clock=Clock())
        yield app
        app.extensions["agentidp"].close()


def person_in(client: FlaskClient, provider: Company, agent: Agent, role: str = VIEWER) -> FlaskClient:
    """The client, with a session of Anna."""
    assert sign_in(client, provider, agent, role).status_code == 200
    return client


def cookies(response: TestResponse) -> dict[str, Any]:
    """The cookies that a response sets."""
    cookies_by_name: dict[str, Any] = {}
    for header in response.headers.getlist("Set-Cookie"):
        cookies_by_name |= SimpleCookie(header)
    return cookies_by_name


class TestTheWholeWay:
    """Nothing goes wrong."""

    def test_the_sign_in_page_leads_to_the_provider_and_keeps_the_forms_of_agents(self, client: FlaskClient) -> None:
        page = Page(client.get("/dashboard/sign-in"))
        assert PATH in page.links
        assert "Sign in with Contoso" in page.text
        assert [form["action"] for form in page.all("form")] == ["/dashboard/sign-in"] * 2 + [PATH]

    def test_the_provider_is_asked_with_state_nonce_and_pkce(self, client: FlaskClient, provider: Company) -> None:
        addresses = [urlsplit(begin(client)) for _ in range(2)]
        first, second = ({name: value for name, [value] in parse_qs(url.query).items()} for url in addresses)
        for name in ("state", "nonce", "code_challenge"):
            assert len(first[name]) >= 20
            assert first.pop(name) != second[name]
        assert first == {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": "http://localhost:3000/dashboard/sign-in/oidc/callback",
            "scope": "openid profile email",
            "code_challenge_method": "S256",
        }

    def test_a_person_sees_their_organization_and_nothing_is_counted(
        self, client: FlaskClient, provider: Company, acme: Agent
    ) -> None:
        provider.claims["organization"] = acme.organization_id
        begun = client.get(PATH, query_string={"return_to": ".elsewhere.example"})
        [(flow_name, flow)] = cookies(begun).items()
        assert flow_name.startswith("agentidp_sign_in_")
        assert (flow["path"], flow["httponly"], flow["samesite"], flow["secure"]) == ("/", True, "Lax", "")
        assert flow["max-age"] == str(int(LIFETIME.total_seconds()))
        path = provider.authorize(begun.headers["Location"])
        # Asking whether the address exists consumes nothing.
        assert client.head(path).status_code == 200
        response = client.get(path)
        assert response.status_code == 200
        assert {"http-equiv": "refresh", "content": "0; url=/dashboard"} in Page(response).all("meta")
        assert (response.headers["Cache-Control"], response.headers["Referrer-Policy"]) == ("no-store", "strict-origin")
        morsel = cookies(response)["agentidp_session"]
        assert (morsel["path"], morsel["httponly"], morsel["samesite"]) == ("/dashboard", True, "Strict")
        assert (morsel["max-age"], morsel["domain"], morsel["secure"]) == (str(session.LIFETIME), "", "")
        assert "anna" not in morsel.value.lower()
        assert (cookies(response)[flow_name]["path"], cookies(response)[flow_name]["max-age"]) == ("/", "0")
        page = Page(client.get("/dashboard?days=30"))
        assert "Acme" in page.text
        assert "Anna Berg (viewer)" in page.text
        assert counted(acme) == (0, 0, 0)
        actor = f"anna-1 at {provider.issuer} (Anna Berg)"
        assert events(acme) == [("person.signed_in", "person", actor, {"role": "viewer"})]

    def test_behind_tls_the_cookies_are_secure(self, wire: Wire) -> None:
        begun = wire(issuer="https://example.com/idp").get(PATH, base_url="https://example.com")
        [(flow_name, flow)] = cookies(begun).items()
        assert flow_name.startswith("__Secure-agentidp_sign_in_")
        assert (flow["path"], flow["secure"], flow["samesite"]) == ("/idp", True, "Lax")
        [back] = parse_qs(urlsplit(begun.headers["Location"]).query)["redirect_uri"]
        assert back == "https://example.com/idp/dashboard/sign-in/oidc/callback"

    def test_every_sign_in_makes_a_new_session(self, client: FlaskClient, provider: Company, acme: Agent) -> None:
        with_cookie(client, "person.chosen-by-an-attacker")
        values = [cookies(sign_in(client, provider, acme))["agentidp_session"].value for _ in range(2)]
        assert values[0] != values[1]
        assert client.get("/dashboard").status_code == 200

    def test_claims_can_be_at_the_userinfo_endpoint_only(self, provider: Company, acme: Agent, wire: Wire) -> None:
        provider.metadata = {"userinfo_endpoint": f"{provider.issuer}/userinfo"}
        provider.claims["roles"] = None
        provider.userinfo = {"sub": "anna-1", "organization": acme.organization_id, "roles": "keepers"}
        client = wire()
        assert client.get(provider.authorize(begin(client))).status_code == 200
        assert "Anna Berg (administrator)" in Page(client.get("/dashboard")).text
        provider.userinfo["sub"] = "another"
        assert client.get(provider.authorize(begin(client))).status_code == 403

    def test_an_address_counts_only_if_the_provider_has_verified_it(
        self, provider: Company, acme: Agent, wire: Wire
    ) -> None:
        client = wire(oidc=provider.settings(role_claim="email", administrators=frozenset({"anna@acme.example"})))
        provider.metadata = {"userinfo_endpoint": f"{provider.issuer}/userinfo"}
        provider.userinfo = {"sub": "anna-1", "email": "mallory@elsewhere.example", "email_verified": True}
        assert sign_in(client, provider, acme, email="anna@acme.example").status_code == 403
        del provider.userinfo["email"]
        assert sign_in(client, provider, acme, email="anna@acme.example").status_code == 403
        provider.userinfo["email"] = "anna@acme.example"
        assert sign_in(client, provider, acme, email="anna@acme.example").status_code == 200
        assert "Anna Berg (administrator)" in Page(client.get("/dashboard")).text

    def test_a_name_is_shown_as_text_and_cannot_pass_for_another_persons(
        self, client: FlaskClient, provider: Company, acme: Agent
    ) -> None:
        name = "<b>\u202eEve\x00</b> (anna-1 at https://elsewhere.example)" + "x" * 100
        assert sign_in(client, provider, acme, name=name, sub="eve-2").status_code == 200
        page = client.get("/dashboard").text
        assert "&lt;b&gt; Eve &lt;/b&gt; (anna-1 at https://elsewhere.example)" in page
        assert "\u202e" not in page
        [(_, _, actor, _)] = events(acme)
        assert actor.startswith(f"eve-2 at {provider.issuer} (<b> Eve </b> (anna-1 at")
        assert len(actor) < 200

    def test_leads_back_to_the_page_that_was_asked_for_in_that_window(
        self, client: FlaskClient, provider: Company, acme: Agent
    ) -> None:
        provider.claims["organization"] = acme.organization_id
        paths = {}
        for page in ("/agents?search=a%26b", "?days=7"):
            [link] = [address for address in Page(client.get(f"/dashboard{page}")).links if address.startswith(PATH)]
            begun = client.get(link)
            assert "return_to" not in begun.headers["Location"]
            paths[page] = provider.authorize(begun.headers["Location"])
        for page, path in paths.items():
            shown = Page(client.get(path))
            assert {"http-equiv": "refresh", "content": f"0; url=/dashboard{page}"} in shown.all("meta")
            assert f"/dashboard{page}" in shown.links

    def test_several_windows_can_sign_in_and_their_cookies_stay_small(
        self, client: FlaskClient, provider: Company, acme: Agent
    ) -> None:
        """Each has its own cookie. If they are too long together, the oldest go."""
        provider.claims["organization"] = acme.organization_id
        stored: dict[str, str] = {}
        paths = []
        for _ in range(8):
            begun = client.get(PATH, query_string={"return_to": "?" + secrets.token_urlsafe(MAX_LENGTH)[1:MAX_LENGTH]})
            assert all(len(header) < 4096 for header in begun.headers.getlist("Set-Cookie"))
            store_cookies(stored, begun)
            assert sum(len(name + value) for name, value in stored.items()) <= MAX_CHARACTERS
            paths.append(provider.authorize(begun.headers["Location"]))
        assert len(stored) >= 4
        statuses = [client.get(path).status_code for path in paths]
        assert statuses == [400] * (8 - len(stored)) + [200] * len(stored)


class TestRoles:
    """A viewer may open the pages that need analytics:read, and an administrator may do everything."""

    def test_a_viewer_sees_no_buttons_and_can_change_nothing(
        self, client: FlaskClient, provider: Company, acme: Agent
    ) -> None:
        person_in(client, provider, acme)
        address = f"/dashboard/agents/{acme.agent_id}"
        page = Page(client.get(address))
        actions = ("/edit", "/suspend", "/delete", "/rotate", "/revoke", "/audit", "/resource-servers", "/new")
        assert not [link for link in page.links if link.endswith(actions)]
        assert [form["action"] for form in page.all("form") if form["method"] == "post"] == ["/dashboard/sign-out"]
        response = post(client, f"{address}/suspend")
        assert response.status_code == 403
        assert "You are signed in as a viewer, and only an administrator may do this." in Page(response).text
        assert [action for action, *_ in events(acme)] == ["person.signed_in"]

    @pytest.mark.parametrize(
        ("name", "shown"), [("Anna Berg", "Anna Berg"), ("operator", "operator"), (None, "anna-1")]
    )
    def test_the_audit_trail_says_who_it_was_whatever_their_name(
        self, client: FlaskClient, provider: Company, acme: Agent, services: Services, name: str | None, shown: str
    ) -> None:
        finding_id = make_finding(services, acme.organization_id)
        assert sign_in(client, provider, acme, ADMINISTRATOR, name=name).status_code == 200
        assert post(client, f"/dashboard/findings/{finding_id}/acknowledge").status_code == 303
        page = Page(client.get(f"/dashboard/findings/{finding_id}")).text
        assert f"{shown} (administrator)" in page.partition("Sign out")[0]
        assert shown in page.partition("Sign out")[2]
        stored_finding = Api(client, acme).get(f"analytics/findings/{finding_id}").json
        assert stored_finding["acknowledgedBy"] == shown
        assert [change["by"] for change in stored_finding["history"] if change["change"] == "acknowledged"] == [shown]
        actor = f"anna-1 at {provider.issuer}" + (f" ({name})" if name else "")
        (*signed_in, role), (*acknowledged, _) = events(acme)
        assert (signed_in, role) == (["person.signed_in", "person", actor], {"role": "administrator"})
        assert acknowledged == ["finding.acknowledged", "person", actor]
        assert actor in Page(client.get("/dashboard/audit")).text

    def test_an_administrator_reaches_no_other_organization(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        """The same holds for every session: tests/dashboard/test_routes.py."""
        person_in(client, provider, cast.acme, ADMINISTRATOR)
        page = f"/dashboard/agents/{cast.outsider.agent_id}"
        assert client.get(page).status_code == 404
        assert post(client, f"{page}/suspend").status_code == 404


def suspend(agent: Agent) -> None:
    url = agent.database_url
    with connect(url) as operator, operator_transaction(operator, agent.organization_id, NOON) as opened:
        update_organization(opened, {"suspended_at": NOON})


def delete(agent: Agent) -> None:
    delete_organization(agent.database_url, agent.organization_id, at=NOON)


class TestTheEndOfASession:
    """A session ends, and nothing of it remains."""

    def ended(self, client: FlaskClient, session: str) -> None:
        for path, send in (("/dashboard", FlaskClient.get), ("/dashboard/sign-out", post)):
            response = send(with_cookie(client, session), path)
            refused(response, 401, ENDED)
            assert cookies(response)["agentidp_session"].value == ""

    @pytest.fixture
    def sealed(self, client: FlaskClient, provider: Company, acme: Agent) -> str:
        """The session of Anna, an administrator, in the client's cookie."""
        sealed: str = cookies(sign_in(client, provider, acme, ADMINISTRATOR))["agentidp_session"].value
        assert client.get("/dashboard").status_code == 200
        return sealed

    def test_after_twelve_hours(self, client: FlaskClient, sealed: str, clock: Clock) -> None:
        clock.advance(seconds=session.LIFETIME - 1)
        assert with_cookie(client, sealed).get("/dashboard").status_code == 200
        clock.advance(seconds=1)
        self.ended(client, sealed)

    @pytest.mark.parametrize(
        ("end", "notice"),
        [
            (suspend, "Your organization is suspended."),
            (delete, "Your account belongs to no organization here."),
        ],
    )
    def test_with_the_organization(
        self,
        client: FlaskClient,
        sealed: str,
        provider: Company,
        acme: Agent,
        end: Callable[[Agent], None],
        notice: str,
    ) -> None:
        end(acme)
        self.ended(client, sealed)
        refused(sign_in(client, provider, acme), 403, notice)

    def test_by_signing_out_on_every_device(
        self, client: FlaskClient, sealed: str, acme: Agent, provider: Company
    ) -> None:
        response = post(client, "/dashboard/sign-out")
        assert led_to(response) == "/dashboard/sign-in?signed-out"
        assert cookies(response)["agentidp_session"].value == ""
        assert events(acme)[1:] == [("person.signed_out", "person", f"anna-1 at {provider.issuer} (Anna Berg)", None)]
        self.ended(client, sealed)

    def test_between_the_page_and_the_change(
        self, client: FlaskClient, sealed: str, acme: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The transaction of a change looks again."""
        update = session.begin_change

        def late(*arguments: Any) -> Any:
            suspend(acme)
            return update(*arguments)

        monkeypatch.setattr(session, "begin_change", late)
        response = post(client, f"/dashboard/agents/{acme.agent_id}/rotate")
        assert response.status_code == 401
        assert "agent.changed" not in [action for action, *_ in events(acme)]

    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param(None, id="no provider any more"),
            {"issuer": "https://elsewhere.example"},
            {"client_id": "another"},
            {"client_secret": "another"},
            pytest.param({"organizations": {"acme": UNKNOWN}}, id="the organization is mapped no more"),
        ],
        ids=str,
    )
    def test_with_the_settings_that_opened_it(
        self, client: FlaskClient, sealed: str, provider: Company, wire: Wire, changed: dict[str, Any] | None
    ) -> None:
        other = wire(oidc=None if changed is None else provider.settings(**changed))
        assert with_cookie(other, sealed).get("/dashboard").status_code == 401

    @pytest.mark.parametrize("changed", ["person.", "person.é", "person.AAAA", "flipped", "long"])
    def test_a_forged_one_is_none(self, client: FlaskClient, sealed: str, shared_app: Flask, changed: str) -> None:
        flipped = sealed[:30] + ("A" if sealed[30] != "A" else "B") + sealed[31:]
        forged = {"flipped": flipped, "long": sealed + "A" * 8000}.get(changed, changed)
        other = shared_app.test_client(use_cookies=False)
        assert other.get("/dashboard", headers={"Cookie": f"agentidp_session={sealed}"}).status_code == 200
        assert other.get("/dashboard", headers={"Cookie": f"agentidp_session={forged}"}).status_code == 401

    def test_it_is_no_token_for_the_api(self, client: FlaskClient, sealed: str, acme: Agent) -> None:
        assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {sealed}"}).status_code == 401
        form = {"client_id": acme.client_id, "client_secret": acme.client_secret, "token": sealed}
        assert client.post("/api/v1/token/introspect", data=form).json == {"active": False}
        assert post(client, "/dashboard/sign-in", token=sealed).status_code == 401

    @pytest.mark.parametrize("endpoint", ["http://sso.example/logout", "javascript:alert(1)", ["x"]])
    def test_signing_out_does_not_go_on_at_an_address_that_is_not_https(
        self, provider: Company, acme: Agent, wire: Wire, endpoint: object
    ) -> None:
        provider.metadata = {"end_session_endpoint": endpoint}
        response = post(person_in(wire(), provider, acme), "/dashboard/sign-out")
        assert led_to(response) == "/dashboard/sign-in?signed-out"

    def test_signing_out_goes_on_at_the_provider_if_it_offers_that(
        self, provider: Company, acme: Agent, wire: Wire
    ) -> None:
        provider.metadata = {"end_session_endpoint": f"{provider.issuer}/logout?tenant=1"}
        fresh = person_in(wire(), provider, acme)
        response = post(fresh, "/dashboard/sign-out")
        address = (
            f"{provider.issuer}/logout?tenant=1&client_id={CLIENT_ID}"
            "&post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fdashboard%2Fsign-in%3Fsigned-out"
        )
        assert response.status_code == 200
        assert {"http-equiv": "refresh", "content": f"0; url={address}"} in Page(response).all("meta")
        assert address in Page(response).links
        assert cookies(response)["agentidp_session"].value == ""
        assert response.headers["Clear-Site-Data"] == '"cache"'
        assert fresh.get("/dashboard").status_code == 401


def test_without_the_settings_there_is_no_such_address(wire: Wire) -> None:
    other = wire(oidc=None)
    assert [other.get(path).status_code for path in (PATH, f"{PATH}/callback")] == [404, 404]
    assert "As a person" not in Page(other.get("/dashboard/sign-in")).text


def test_the_secret_is_in_no_representation_of_the_settings(provider: Company) -> None:
    assert CLIENT_SECRET not in repr(provider.settings())
