"""People sign in at their company's provider, see and do what their role allows, and sign out."""

from __future__ import annotations

import dataclasses
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
from agentidp.dashboard.form_key import new_form_key
from agentidp.dashboard.oidc_client import MAX_FLOWS
from agentidp.dashboard.oidc_sign_in import PATH
from agentidp.dashboard.person import ADMINISTRATOR, VIEWER
from agentidp.dashboard.return_page import MAX_LENGTH
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.maintenance.erasure import delete_organization
from agentidp.registry.organizations import update_organization
from agentidp.services import Services
from tests.audit.conftest import events_of, verified
from tests.conftest import Cast, _fresh_database, settings_for
from tests.dashboard.company import CLIENT_ID, CLIENT_SECRET, Company
from tests.dashboard.conftest import SAME_ORIGIN, Page, post
from tests.factories import NOON, Agent, Clock, make_agent, make_finding, make_one_of_each, make_quotas, usage_sums
from tests.routes import PAGES, Route

ROLE_OF = {VIEWER: ["watchers"], ADMINISTRATOR: ["keepers", "watchers"]}
IN_SESSION = [route for route in PAGES if route.authentication == "session"]


@pytest.fixture(scope="module")
def shared_app(postgres_url: str, template: str, running_provider: Company) -> Iterator[Flask]:
    """The application with the provider's settings."""
    with contextmanager(_fresh_database)(postgres_url, template) as url:
        app = create_app(settings_for(url, oidc=running_provider.settings()), clock=Clock())
        yield app
        app.extensions["agentidp"].close()


def begin(client: FlaskClient) -> str:
    """Follow the link on the sign-in page: the address at the provider."""
    response = client.get(PATH)
    assert response.status_code == 302, response.text
    return response.headers["Location"]


def sign_in(client: FlaskClient, provider: Company, agent: Agent, role: str = VIEWER, **claims: Any) -> TestResponse:
    """Sign in as Anna, who belongs to the agent's organization."""
    provider.claims |= {"organization": agent.organization_id, "roles": ROLE_OF[role]} | claims
    return client.get(provider.authorize(begin(client)))


def person_in(client: FlaskClient, provider: Company, agent: Agent, role: str = VIEWER) -> FlaskClient:
    """The client, with a session of Anna."""
    assert sign_in(client, provider, agent, role).status_code == 200
    return client


def refused(response: TestResponse, status: int, notice: str) -> None:
    """The sign-in page, with a sentence and without a session."""
    assert (response.status_code, Page(response).notice) == (status, notice)
    assert not any(header.startswith("agentidp_session") for header in response.headers.getlist("Set-Cookie"))


def counted(agent: Agent) -> set[int]:
    """What every counter of the organization says."""
    return set(usage_sums(str(agent.services.settings.database_url), agent.organization_id).values())


def events(agent: Agent) -> list[tuple[str, str, str, Any]]:
    """What is recorded about people in the agent's organization."""
    url = str(agent.services.settings.database_url)
    assert verified(url, agent.organization_id).broken_at is None
    return [
        (event["action"], event["actorType"], event["actor"], event["after"])
        for event in events_of(url, agent.organization_id)
        if event["actorType"] == "person"
    ]


def cookies(response: TestResponse) -> dict[str, Any]:
    """The cookies that a response sets."""
    found: dict[str, Any] = {}
    for header in response.headers.getlist("Set-Cookie"):
        found |= SimpleCookie(header)
    return found


class TestTheWholeWay:
    """Nothing goes wrong."""

    def test_the_sign_in_page_leads_to_the_provider_and_keeps_the_forms_of_agents(self, client: FlaskClient) -> None:
        page = Page(client.get("/dashboard/sign-in"))
        assert {"class": "button", "href": PATH} in page.all("a")
        assert "Sign in with Contoso" in page.text
        assert [form["action"] for form in page.all("form")] == ["/dashboard/sign-in"] * 2

    def test_the_provider_is_asked_with_state_nonce_and_pkce(self, client: FlaskClient, provider: Company) -> None:
        addresses = [urlsplit(begin(client)) for _ in range(2)]
        first, second = ({name: value for name, [value] in parse_qs(url.query).items()} for url in addresses)
        assert first | {"state": "", "nonce": "", "code_challenge": ""} == {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": "http://localhost:3000/dashboard/sign-in/oidc/callback",
            "scope": "openid profile email",
            "code_challenge_method": "S256",
            "state": "",
            "nonce": "",
            "code_challenge": "",
        }
        for name in ("state", "nonce", "code_challenge"):
            assert len(first[name]) >= 20
            assert first[name] != second[name]

    def test_a_person_sees_their_organization_and_nothing_is_counted(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        response = sign_in(client, provider, cast.acme)
        assert response.status_code == 200
        assert {"http-equiv": "refresh", "content": "0; url=/dashboard"} in Page(response).all("meta")
        assert (response.headers["Cache-Control"], response.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
        page = Page(client.get("/dashboard?days=30"))
        assert "Acme" in page.text
        assert "Anna Berg (viewer)" in page.text
        assert counted(cast.acme) == {0}
        assert events(cast.acme) == [
            (
                "person.signed_in",
                "person",
                f"anna-1 at {provider.issuer} (Anna Berg)",
                {"role": "viewer"},
            )
        ]

    def test_the_session_is_where_no_script_and_no_other_site_gets_at_it_and_tells_nothing(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        flow = cookies(client.get(PATH))["agentidp_sign_in"]
        assert (flow["path"], flow["httponly"], flow["samesite"], flow["secure"]) == (PATH, True, "Lax", "")
        set_cookies = cookies(sign_in(client, provider, cast.acme))
        found = set_cookies["agentidp_session"]
        assert (found["path"], found["httponly"], found["samesite"]) == ("/dashboard", True, "Strict")
        assert (found["max-age"], found["domain"], found["secure"]) == (str(session.LIFETIME), "", "")
        assert "anna" not in found.value.lower()
        # Where the other sign-in was begun; with it would end what was begun in another window.
        assert "agentidp_sign_in" in set_cookies

    def test_behind_tls_the_cookies_are_secure(
        self, client: FlaskClient, provider: Company, cast: Cast, services: Services, clock: Clock
    ) -> None:
        settings = settings_for(
            str(services.settings.database_url), issuer="https://example.com/idp", oidc=provider.settings()
        )
        app = create_app(settings, clock=clock)
        other = app.test_client()
        begun = other.get(PATH, base_url="https://example.com")
        flow = cookies(begun)["__Secure-agentidp_sign_in"]
        assert (flow["path"], flow["secure"], flow["samesite"]) == ("/idp/dashboard/sign-in/oidc", True, "Lax")
        [back] = parse_qs(urlsplit(begun.headers["Location"]).query)["redirect_uri"]
        assert back == "https://example.com/idp/dashboard/sign-in/oidc/callback"
        app.extensions["agentidp"].close()

    def test_every_sign_in_makes_a_new_session(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        client.set_cookie("agentidp_session", "person.chosen-by-an-attacker", path="/dashboard")
        values = [cookies(sign_in(client, provider, cast.acme))["agentidp_session"].value for _ in range(2)]
        assert values[0] != values[1]
        assert client.get("/dashboard").status_code == 200

    def test_claims_can_be_at_the_userinfo_endpoint_only(
        self, client: FlaskClient, provider: Company, cast: Cast, services: Services, clock: Clock
    ) -> None:
        provider.metadata = {"userinfo_endpoint": f"{provider.issuer}/userinfo"}
        provider.claims["roles"] = None
        provider.userinfo = {"sub": "anna-1", "organization": cast.acme.organization_id, "roles": "keepers"}
        app = create_app(services.settings, clock=clock)
        fresh = app.test_client()
        assert fresh.get(provider.authorize(begin(fresh))).status_code == 200
        assert "Anna Berg (administrator)" in Page(fresh.get("/dashboard")).text
        provider.userinfo["sub"] = "another"
        assert fresh.get(provider.authorize(begin(fresh))).status_code == 403
        app.extensions["agentidp"].close()

    def test_an_address_counts_only_if_the_provider_has_verified_it(
        self, provider: Company, cast: Cast, services: Services, clock: Clock
    ) -> None:
        named = provider.settings(role_claim="email", administrators=frozenset({"anna@acme.example"}))
        app = create_app(dataclasses.replace(services.settings, oidc=named), clock=clock)
        client = app.test_client()
        provider.metadata = {"userinfo_endpoint": f"{provider.issuer}/userinfo"}
        provider.userinfo = {"sub": "anna-1", "email": "mallory@elsewhere.example", "email_verified": True}
        assert sign_in(client, provider, cast.acme, email="anna@acme.example").status_code == 403
        provider.userinfo["email"] = "anna@acme.example"
        assert sign_in(client, provider, cast.acme, email="anna@acme.example").status_code == 200
        assert "Anna Berg (administrator)" in Page(client.get("/dashboard")).text
        app.extensions["agentidp"].close()

    def test_a_name_is_shown_as_text_and_cannot_pass_for_another_persons(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        name = "<b>\u202eEve\x00</b> (anna-1 at https://elsewhere.example)" + "x" * 100
        assert sign_in(client, provider, cast.acme, name=name, sub="eve-2").status_code == 200
        page = client.get("/dashboard").text
        assert "&lt;b&gt;Eve&lt;/b&gt; (anna-1 at https://elsewhere.example)" in page
        assert "\u202e" not in page
        [(_, _, actor, _)] = events(cast.acme)
        assert actor.startswith(f"eve-2 at {provider.issuer} (<b>Eve</b> (anna-1 at")
        assert len(actor) < 200

    def test_without_a_name_the_subject_is_shown(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        assert sign_in(client, provider, cast.acme, name=None).status_code == 200
        assert "anna-1 (viewer)" in Page(client.get("/dashboard")).text
        [(_, _, actor, _)] = events(cast.acme)
        assert actor == f"anna-1 at {provider.issuer}"

    def test_leads_back_to_the_page_that_was_asked_for_in_that_window(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        provider.claims["organization"] = cast.acme.organization_id
        paths = {}
        for page in ("/agents?search=a%26b", "?days=7"):
            [link] = [
                one["href"] for one in Page(client.get(f"/dashboard{page}")).all("a") if one.get("class") == "button"
            ]
            begun = client.get(link)
            assert "return_to" not in begun.headers["Location"]
            paths[page] = provider.authorize(begun.headers["Location"])
        for page, path in paths.items():
            shown = Page(client.get(path))
            assert {"http-equiv": "refresh", "content": f"0; url=/dashboard{page}"} in shown.all("meta")
            assert {"href": f"/dashboard{page}"} in shown.all("a")

    def test_leads_to_no_other_site(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        provider.claims["organization"] = cast.acme.organization_id
        begun = client.get(PATH, query_string={"return_to": ".elsewhere.example"})
        shown = Page(client.get(provider.authorize(begun.headers["Location"])))
        assert {"http-equiv": "refresh", "content": "0; url=/dashboard"} in shown.all("meta")

    def test_asking_whether_the_address_exists_consumes_nothing(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        provider.claims["organization"] = cast.acme.organization_id
        path = provider.authorize(begin(client))
        assert client.head(path).status_code == 200
        assert client.get(path).status_code == 200

    def test_several_windows_can_sign_in_and_the_cookie_stays_small(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        provider.claims["organization"] = cast.acme.organization_id
        paths = [provider.authorize(begin(client)) for _ in range(6)]
        assert len(cookies(client.get(PATH))["agentidp_sign_in"].value) < 2000
        # That request was one more.
        assert [client.get(path).status_code for path in paths] == [400, 400, 400, 200, 200, 200]

    def test_the_cookie_holds_the_longest_page_of_each_window(self, client: FlaskClient) -> None:
        pages = ["?" + secrets.token_urlsafe(MAX_LENGTH)[1:MAX_LENGTH] for _ in range(MAX_FLOWS)]
        for page in pages:
            begun = client.get(PATH, query_string={"return_to": page})
        # With its name and its attributes.
        assert len(begun.headers["Set-Cookie"]) < 4096


class TestRoles:
    """What a person may see and do."""

    def test_a_viewer_sees_no_buttons_and_no_audit_trail(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        person_in(client, provider, cast.acme)
        page = client.get(f"/dashboard/agents/{cast.acme.agent_id}")
        links = [str(link.get("href")) for link in Page(page).all("a")]
        assert page.status_code == 200
        assert not [
            link
            for link in links
            if link.endswith(
                ("/edit", "/suspend", "/delete", "/rotate", "/revoke", "/audit", "/resource-servers", "/new")
            )
        ]
        posting = [form for form in Page(page).all("form") if form["method"] == "post"]
        assert [form["action"] for form in posting] == ["/dashboard/sign-out"]

    @pytest.mark.parametrize("route", [route for route in IN_SESSION if route.method != "GET"], ids=str)
    def test_a_viewer_can_change_nothing(
        self, client: FlaskClient, provider: Company, cast: Cast, services: Services, route: Route
    ) -> None:
        if route.rule.endswith("/sign-out"):
            return
        path = route.path(cast.acme.agent_id, finding_id=make_finding(services, cast.acme.organization_id))
        person_in(client, provider, cast.acme)
        response = client.post(path, headers=SAME_ORIGIN)
        assert response.status_code == 403
        assert "You are signed in as a viewer, and only an administrator may do this." in Page(response).text
        assert [action for action, *_ in events(cast.acme)] == ["person.signed_in"]

    @pytest.mark.parametrize("action", ["suspend", "resume", "delete", "edit", "rotate"])
    def test_a_viewer_is_not_even_asked(self, client: FlaskClient, provider: Company, cast: Cast, action: str) -> None:
        person_in(client, provider, cast.acme)
        assert client.get(f"/dashboard/agents/{cast.acme.agent_id}/{action}").status_code == 403
        for path in ("/audit", "/agents/new", "/resource-servers", "/resource-servers/new"):
            assert client.get(f"/dashboard{path}").status_code == 403

    def test_an_administrator_acknowledges_a_finding_under_their_own_name(
        self, client: FlaskClient, provider: Company, cast: Cast, services: Services
    ) -> None:
        finding_id = make_finding(services, cast.acme.organization_id)
        person_in(client, provider, cast.acme, ADMINISTRATOR)
        response = client.post(f"/dashboard/findings/{finding_id}/acknowledge", headers=SAME_ORIGIN)
        assert response.status_code == 303
        shown = Page(client.get(f"/dashboard/findings/{finding_id}")).text
        assert "Anna Berg" in shown.partition("Sign out")[2]
        actor = f"anna-1 at {provider.issuer} (Anna Berg)"
        assert [(action, who) for action, _, who, _ in events(cast.acme)[1:]] == [("finding.acknowledged", actor)]

    @pytest.mark.parametrize(("name", "shown"), [("operator", "operator"), (None, "anna-1")])
    def test_the_audit_trail_says_who_it_was_whatever_their_name(
        self, client: FlaskClient, provider: Company, cast: Cast, services: Services, name: str | None, shown: str
    ) -> None:
        finding_id = make_finding(services, cast.acme.organization_id)
        assert sign_in(client, provider, cast.acme, ADMINISTRATOR, name=name).status_code == 200
        client.post(f"/dashboard/findings/{finding_id}/acknowledge", headers=SAME_ORIGIN)
        headers = {"Authorization": f"Bearer {cast.acme.token()}"}
        found = client.get(f"/api/v1/analytics/findings/{finding_id}", headers=headers).get_json()
        assert found["acknowledgedBy"] == shown
        assert [change["by"] for change in found["history"] if change["change"] == "acknowledged"] == [shown]
        [(_, *who, _)] = [event for event in events(cast.acme) if event[0] == "finding.acknowledged"]
        assert who == ["person", f"anna-1 at {provider.issuer}" + (f" ({name})" if name else "")]

    def test_an_administrator_acts_under_their_own_name(
        self, client: FlaskClient, provider: Company, cast: Cast, services: Services
    ) -> None:
        other = make_agent(services, cast.acme.organization_id, name="the other")
        person_in(client, provider, cast.acme, ADMINISTRATOR)
        page = f"/dashboard/agents/{other.agent_id}"
        assert {"href": f"{page}/suspend"} in Page(client.get(page)).all("a")
        assert "signed in as this agent" not in Page(client.get(f"{page}/suspend")).text
        response = client.post(f"{page}/suspend", headers=SAME_ORIGIN)
        assert (response.status_code, response.headers["Location"]) == (303, page)
        actor = f"anna-1 at {provider.issuer} (Anna Berg)"
        assert events(cast.acme) == [
            ("person.signed_in", "person", actor, {"role": "administrator"}),
            ("agent.changed", "person", actor, {"status": "suspended"}),
        ]
        trail = client.get("/dashboard/audit")
        assert actor in Page(trail).text
        assert counted(cast.acme) == {0}

    def test_a_change_from_another_sites_page_is_refused(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        person_in(client, provider, cast.acme, ADMINISTRATOR)
        path = f"/dashboard/agents/{cast.acme.agent_id}/suspend"
        response = client.post(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert response.status_code == 403
        assert [action for action, *_ in events(cast.acme)] == ["person.signed_in"]


FILLED_IN = {
    "name": "ours",
    "type": "webhook",
    "url": "https://example.com/",
    "minimumSeverity": "warning",
    "resource": "https://api.example",
    "tokens": "5",
    "issuer": "https://issuer.example",
    "subject": "system:serviceaccount:shop:*",
    "token": "no token",
}
"""What the forms of something new need; other forms do without."""

SHOWN_ONCE = {"/dashboard/alert-targets/new"}
"""Forms whose response is a page: it shows a secret that is shown once."""


@pytest.mark.parametrize("route", IN_SESSION, ids=str)
def test_a_person_reaches_nothing_of_another_organization(
    client: FlaskClient, provider: Company, cast: Cast, services: Services, route: Route
) -> None:
    url = str(services.settings.database_url)
    hidden = make_agent(services, cast.outsider.organization_id, name="kept-from-others")
    path = route.path(**make_one_of_each(client, hidden))
    # Of the same windows as the other organization's.
    make_quotas(cast.acme)
    person_in(client, provider, cast.acme, ADMINISTRATOR)
    before = events_of(url, cast.outsider.organization_id)
    # A resource server's subject is one of two words, and another thing than a rule's.
    filled_in = FILLED_IN | ({"subject": "agent"} if route.rule.startswith("/dashboard/resource-servers") else {})
    filled_in["form_key"] = new_form_key(NOON)
    response = client.open(path, method=route.method, headers=SAME_ORIGIN, data=filled_in)
    expected = 404 if "uuid" in route.rule else 200 if route.method == "GET" or route.rule in SHOWN_ONCE else 303
    if str(route) == "POST /dashboard/provisioning-rules/test":
        expected = 400
    assert response.status_code == expected
    assert "kept-from-others" not in response.text
    assert "Outsider" not in response.text
    assert events_of(url, cast.outsider.organization_id) == before


def suspend(agent: Agent) -> None:
    url = str(agent.services.settings.database_url)
    with connect(url) as operator, operator_transaction(operator, agent.organization_id, NOON) as opened:
        update_organization(opened, {"suspended_at": NOON})


def delete(agent: Agent) -> None:
    delete_organization(str(agent.services.settings.database_url), agent.organization_id, at=NOON)


class TestTheEndOfASession:
    """When it ends, and what is left."""

    def ended(self, client: FlaskClient) -> None:
        for method, path in (("GET", "/dashboard"), ("POST", "/dashboard/sign-out")):
            client.set_cookie("agentidp_session", self.cookie, path="/dashboard")
            response = client.open(path, method=method, headers=SAME_ORIGIN)
            assert (response.status_code, Page(response).notice) == (401, "Your session has ended. Sign in again.")
            assert cookies(response)["agentidp_session"].value == ""

    cookie = ""

    @pytest.fixture
    def person(self, client: FlaskClient, provider: Company, cast: Cast) -> FlaskClient:
        TestTheEndOfASession.cookie = cookies(sign_in(client, provider, cast.acme, ADMINISTRATOR))[
            "agentidp_session"
        ].value
        assert client.get("/dashboard").status_code == 200
        return client

    def test_after_twelve_hours(self, person: FlaskClient, clock: Clock) -> None:
        clock.advance(seconds=session.LIFETIME - 1)
        person.set_cookie("agentidp_session", self.cookie, path="/dashboard")
        assert person.get("/dashboard").status_code == 200
        clock.advance(seconds=1)
        self.ended(person)

    @pytest.mark.parametrize(
        ("end", "notice"),
        [
            (suspend, "Your organization is suspended."),
            (delete, "Your account belongs to no organization here."),
        ],
    )
    def test_with_the_organization(
        self, person: FlaskClient, provider: Company, cast: Cast, end: Callable[[Agent], None], notice: str
    ) -> None:
        end(cast.acme)
        self.ended(person)
        refused(sign_in(person, provider, cast.acme), 403, notice)

    def test_by_signing_out_on_every_device(self, person: FlaskClient, cast: Cast, provider: Company) -> None:
        response = person.post("/dashboard/sign-out", headers=SAME_ORIGIN)
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard/sign-in?signed-out")
        assert cookies(response)["agentidp_session"].value == ""
        assert events(cast.acme)[1:] == [
            ("person.signed_out", "person", f"anna-1 at {provider.issuer} (Anna Berg)", None)
        ]
        self.ended(person)

    def test_between_the_page_and_the_change(
        self, person: FlaskClient, cast: Cast, services: Services, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The transaction of a change looks again."""
        update = session.changing

        def late(*arguments: Any) -> Any:
            suspend(cast.acme)
            return update(*arguments)

        monkeypatch.setattr(session, "changing", late)
        response = post(person, f"/dashboard/agents/{cast.acme.agent_id}/rotate")
        assert response.status_code == 401
        assert "agent.changed" not in [action for action, *_ in events(cast.acme)]

    @pytest.mark.parametrize(
        "changed",
        [
            None,
            {"issuer": "https://elsewhere.example"},
            {"client_id": "another"},
            {"client_secret": "another"},
            {"organizations": {"acme": "org-11111111-1111-1111-1111-111111111111"}},
        ],
        ids=[
            "no provider any more",
            "another provider",
            "another client",
            "a new secret",
            "the organization is mapped no more",
        ],
    )
    def test_with_the_settings_that_opened_it(
        self, person: FlaskClient, services: Services, provider: Company, clock: Clock, changed: dict[str, Any] | None
    ) -> None:
        oidc = None if changed is None else provider.settings(**changed)
        app = create_app(settings_for(str(services.settings.database_url), oidc=oidc), clock=clock)
        other = app.test_client()
        other.set_cookie("agentidp_session", self.cookie, path="/dashboard")
        assert other.get("/dashboard").status_code == 401
        app.extensions["agentidp"].close()

    @pytest.mark.parametrize("changed", ["person.", "person.é", "person.AAAA", "flipped", "long"])
    def test_a_forged_one_is_none(self, person: FlaskClient, shared_app: Flask, changed: str) -> None:
        flipped = self.cookie[:30] + ("A" if self.cookie[30] != "A" else "B") + self.cookie[31:]
        forged = {"flipped": flipped, "long": self.cookie + "A" * 8000}.get(changed, changed)
        other = shared_app.test_client(use_cookies=False)
        assert other.get("/dashboard", headers={"Cookie": f"agentidp_session={self.cookie}"}).status_code == 200
        assert other.get("/dashboard", headers={"Cookie": f"agentidp_session={forged}"}).status_code == 401

    def test_it_is_no_token_for_the_api(self, person: FlaskClient, cast: Cast) -> None:
        response = person.get("/api/v1/agents", headers={"Authorization": f"Bearer {self.cookie}"})
        assert response.status_code == 401
        form = {"client_id": cast.acme.client_id, "client_secret": cast.acme.client_secret, "token": self.cookie}
        assert person.post("/api/v1/token/introspect", data=form).json == {"active": False}
        response = person.post("/dashboard/sign-in", data={"token": self.cookie}, headers=SAME_ORIGIN)
        assert response.status_code == 401

    @pytest.mark.parametrize("endpoint", ["http://sso.example/logout", "javascript:alert(1)", ["x"]])
    def test_signing_out_does_not_go_on_at_an_address_that_is_not_https(
        self, provider: Company, cast: Cast, services: Services, clock: Clock, endpoint: object
    ) -> None:
        provider.metadata = {"end_session_endpoint": endpoint}
        app = create_app(services.settings, clock=clock)
        fresh = person_in(app.test_client(), provider, cast.acme)
        response = fresh.post("/dashboard/sign-out", headers=SAME_ORIGIN)
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard/sign-in?signed-out")
        app.extensions["agentidp"].close()

    def test_signing_out_goes_on_at_the_provider_if_it_offers_that(
        self, provider: Company, cast: Cast, services: Services, clock: Clock
    ) -> None:
        provider.metadata = {"end_session_endpoint": f"{provider.issuer}/logout?tenant=1"}
        app = create_app(services.settings, clock=clock)
        fresh = person_in(app.test_client(), provider, cast.acme)
        response = fresh.post("/dashboard/sign-out", headers=SAME_ORIGIN)
        address = (
            f"{provider.issuer}/logout?tenant=1&client_id={CLIENT_ID}"
            "&post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fdashboard%2Fsign-in%3Fsigned-out"
        )
        assert response.status_code == 200
        assert {"http-equiv": "refresh", "content": f"0; url={address}"} in Page(response).all("meta")
        assert {"href": address} in Page(response).all("a")
        assert cookies(response)["agentidp_session"].value == ""
        assert response.headers["Clear-Site-Data"] == '"cache"'
        assert fresh.get("/dashboard").status_code == 401
        app.extensions["agentidp"].close()


def test_without_the_settings_there_is_no_such_address(services: Services, clock: Clock) -> None:
    app = create_app(settings_for(str(services.settings.database_url)), clock=clock)
    other = app.test_client()
    assert [other.get(path).status_code for path in (PATH, f"{PATH}/callback")] == [404, 404]
    assert "As a person" not in Page(other.get("/dashboard/sign-in")).text
    app.extensions["agentidp"].close()


def test_the_secret_is_in_no_representation_of_the_settings(provider: Company) -> None:
    assert CLIENT_SECRET not in repr(provider.settings())
