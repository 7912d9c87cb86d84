"""Signing in to the dashboard, staying so, and signing out; and who cannot."""

from __future__ import annotations

import re
from http.cookies import Morsel, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.dashboard.cross_origin import SAFE_METHODS
from agentidp.dashboard.form_key import new_form_key
from agentidp.dashboard.return_page import MAX_LENGTH
from agentidp.dashboard.session import LIFETIME
from agentidp.oauth.throttle import FAILURES_A_MINUTE
from agentidp.services import Services
from tests.conftest import Cast, settings_for
from tests.dashboard import (
    test_agent_actions,
    test_agent_form,
    test_alert_targets,
    test_dormancy,
    test_finding,
    test_provisioning_rules,
    test_quotas,
    test_resource_servers,
)
from tests.dashboard.conftest import SAME_ORIGIN, Page, session_of, sign_in, with_session
from tests.factories import NOON, Agent, Clock, make_agent, make_organization, make_quotas, usage_sums
from tests.routes import NOWHERE, PAGES, Route

SIGNED_IN_PAGES = [route for route in PAGES if route.authentication == "session"]
ENDED = "Your session has ended. Sign in again."


def cookie(response: TestResponse) -> Morsel[str]:
    """The one cookie that an answer sets."""
    [header] = response.headers.getlist("Set-Cookie")
    [found] = SimpleCookie(header).values()
    return found


def is_deleted(response: TestResponse) -> bool:
    """Whether an answer takes the session away."""
    found = cookie(response)
    return (found.key, found.value, found["max-age"], found["path"]) == ("agentidp_session", "", "0", "/dashboard")


def counted(agent: Agent) -> tuple[int, int, int]:
    """Tokens, requests and rejections of an agent's organization, on which all counters agree."""
    sums = usage_sums(str(agent.services.settings.database_url), agent.organization_id)
    found = [{n for name, n in sums.items() if kind in name} for kind in ("tokens", "requests", "rejected")]
    [[tokens], [requests], [rejected]] = found
    return tokens, requests, rejected


def refused(response: TestResponse, status: int, notice: str) -> None:
    """The sign-in page, with a sentence and without a session."""
    assert response.status_code == status
    page = Page(response)
    assert [str(form["action"]).partition("?")[0] for form in page.all("form")] == ["/dashboard/sign-in"] * 2
    assert page.notice == notice
    assert all("agentidp_session=;" in header for header in response.headers.getlist("Set-Cookie"))
    if status == 401:
        assert response.headers["WWW-Authenticate"] == 'Cookie realm="agentidp"'


class TestWithACredential:
    """client_id and client_secret in the form."""

    def test_opens_a_session_that_counts_as_one_token_and_leads_to_the_dashboard(
        self, client: FlaskClient, cast: Cast
    ) -> None:
        response = sign_in(client, cast.acme)
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard")
        assert response.headers["Cache-Control"] == "no-store"
        assert counted(cast.acme) == (1, 1, 0)
        page = client.get("/dashboard")
        assert page.status_code == 200
        assert "Acme" in Page(page).text
        assert counted(cast.acme) == (1, 1, 0)

    def test_the_session_has_one_scope_and_twelve_hours_and_is_of_no_use_at_the_api(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        token = cookie(sign_in(client, cast.acme)).value
        claims = jwt.decode(token, options={"verify_signature": False})
        now = int(clock().timestamp())
        assert claims == {
            "iss": "http://localhost:3000",
            "sub": cast.acme.client_id,
            "client_id": cast.acme.client_id,
            "aud": "http://localhost:3000/dashboard",
            "iat": now,
            "exp": now + LIFETIME,
            "jti": claims["jti"],
            "organization_id": cast.acme.organization_id,
            "scope": "analytics:read",
        }
        response = client.get("/api/v1/analytics/tokens", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 401

    @pytest.mark.parametrize(
        ("issuer", "name", "path", "secure"),
        [
            ("http://localhost:3000", "agentidp_session", "/dashboard", ""),
            ("https://idp.example", "__Secure-agentidp_session", "/dashboard", True),
            ("https://example.com/idp", "__Secure-agentidp_session", "/idp/dashboard", True),
        ],
    )
    def test_the_cookie_stays_with_the_dashboard_and_out_of_scripts(
        self, services: Services, clock: Clock, issuer: str, name: str, path: str, secure: Any
    ) -> None:
        app = create_app(settings_for(str(services.settings.database_url), issuer=issuer), clock=clock)
        agent = make_agent(app.extensions["agentidp"], make_organization(app.extensions["agentidp"]))
        response = sign_in(app.test_client(), agent)
        app.extensions["agentidp"].close()
        found = cookie(response)
        assert (found.key, found["path"], found["secure"], found["httponly"]) == (name, path, secure, True)
        assert (found["samesite"], found["max-age"], found["domain"]) == ("Strict", str(LIFETIME), "")
        assert response.headers["Location"] == path

    @pytest.mark.parametrize("changed", [{"client_secret": "wrong"}, {"client_id": "nobody"}, {"client_secret": ""}])
    def test_a_wrong_one_is_refused_alike(self, client: FlaskClient, cast: Cast, changed: dict[str, str]) -> None:
        form = {"client_id": cast.acme.client_id, "client_secret": cast.acme.client_secret} | changed
        response = sign_in(client, cast.acme, **form)
        refused(response, 401, "The client ID or the secret is wrong, or the agent is not active.")
        # One that names nobody, or shows nothing, counts nothing of Acme.
        assert counted(cast.acme) == (0, 0, int(changed == {"client_secret": "wrong"}))

    def test_a_suspended_agents_is_refused(self, client: FlaskClient, cast: Cast) -> None:
        suspend(client, cast.acme)
        response = sign_in(client, cast.acme)
        refused(response, 401, "The client ID or the secret is wrong, or the agent is not active.")

    def test_is_throttled_as_at_the_token_endpoint_and_together_with_it(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        most = FAILURES_A_MINUTE
        form = {"client_id": cast.acme.client_id, "client_secret": "wrong"}
        for _ in range(most // 2):
            assert sign_in(client, cast.acme, **form).status_code == 401
            assert client.post("/api/v1/token", data=form | {"grant_type": "client_credentials"}).status_code == 401
        response = sign_in(client, cast.acme, **form)
        wait = response.headers["Retry-After"]
        refused(response, 429, f"Too many failed attempts. Try again in {wait} s.")
        # Whoever has the right one is let in all the same.
        assert sign_in(client, cast.acme).status_code == 303
        clock.advance(seconds=int(wait))
        assert sign_in(client, cast.acme, **form).status_code == 401

    def test_an_agent_without_the_scope_gets_an_explanation(self, client: FlaskClient, services: Services) -> None:
        agent = make_agent(services, make_organization(services), scopes=["agents:read"])
        response = sign_in(client, agent)
        refused(response, 403, "This agent lacks the scope analytics:read, so it cannot sign in to the dashboard.")
        assert counted(agent) == (0, 0, 0)

    def test_an_agent_whose_tokens_must_be_bound_gets_an_explanation(self, client: FlaskClient, cast: Cast) -> None:
        path = f"/api/v1/agents/{cast.acme.agent_id}"
        body = {"dpopBoundAccessTokens": True}
        assert client.patch(path, json=body, headers=cast.acme.bearer()).status_code == 200
        refused(
            sign_in(client, cast.acme),
            403,
            "This agent gets only tokens that are bound to a key, and a browser cannot prove that it has the key. "
            "Use another agent.",
        )

    def test_a_form_that_cannot_be_read_is_refused(self, client: FlaskClient, cast: Cast) -> None:
        response = client.post("/dashboard/sign-in", json={"token": cast.acme.token()}, headers=SAME_ORIGIN)
        refused(response, 400, "The form cannot be read: the body must be application/x-www-form-urlencoded.")


def suspend(client: FlaskClient, agent: Agent) -> None:
    """By another agent of the organization, so that it counts one request."""
    other = make_agent(agent.services, agent.organization_id, name="the one that suspends")
    body = {"status": "suspended"}
    assert client.patch(f"/api/v1/agents/{agent.agent_id}", json=body, headers=other.bearer()).status_code == 200


def revoke(client: FlaskClient, agent: Agent, token: str) -> None:
    """As the agent, at the revocation endpoint."""
    form = {"client_id": agent.client_id, "client_secret": agent.client_secret, "token": token}
    assert client.post("/api/v1/token/revoke", data=form).status_code == 200


class TestWithAToken:
    """An access token for the API, pasted into the form."""

    def test_opens_a_session_that_lives_as_long_and_counts_nothing(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        token = cast.acme.token()
        response = sign_in(client, cast.acme, token=token)
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard")
        assert (cookie(response).value, cookie(response)["max-age"]) == (token, "3600")
        assert client.get("/dashboard").status_code == 200
        clock.advance(seconds=3610)
        refused(client.get("/dashboard"), 401, ENDED)
        assert counted(cast.acme) == (0, 0, 0)

    @pytest.mark.parametrize(
        ("changed", "rejected"),
        [
            ({"audience": "http://localhost:3000/dashboard"}, 0),
            ({"audience": "https://api.example"}, 0),
            ({"issuer": "https://elsewhere.example"}, 0),
            ({"ttl": -60}, 1),
        ],
        ids=["a session", "of a resource server", "of another issuer", "expired"],
    )
    def test_one_that_is_no_good_is_refused_and_counted_where_it_would_be_at_the_api(
        self, client: FlaskClient, cast: Cast, changed: dict[str, Any], rejected: int
    ) -> None:
        response = sign_in(client, cast.acme, token=cast.acme.token(**changed))
        refused(response, 401, "This token is invalid, expired or revoked.")
        assert counted(cast.acme) == (0, 0, rejected)

    @pytest.mark.parametrize("token", ["x", "a.b.c", "x" * 5000, "\u202e\U0001f600"])
    def test_what_is_no_token_is_refused(self, client: FlaskClient, cast: Cast, token: str) -> None:
        refused(sign_in(client, cast.acme, token=token), 401, "This token is invalid, expired or revoked.")

    def test_a_revoked_one_is_refused_and_counted(self, client: FlaskClient, cast: Cast) -> None:
        token = cast.acme.token()
        revoke(client, cast.acme, token)
        refused(sign_in(client, cast.acme, token=token), 401, "This token is invalid, expired or revoked.")
        assert counted(cast.acme) == (0, 0, 1)

    def test_one_without_the_scope_gets_an_explanation(self, client: FlaskClient, cast: Cast) -> None:
        response = sign_in(client, cast.acme, token=cast.acme.token(scope="agents:read"))
        refused(response, 403, "This token lacks the scope analytics:read.")

    def test_one_that_is_bound_to_a_key_gets_an_explanation(self, client: FlaskClient, cast: Cast) -> None:
        response = sign_in(client, cast.acme, token=cast.acme.token(jkt="a" * 43))
        refused(response, 403, "This token is bound to a key, and a browser cannot prove that it has the key.")


class TestByLink:
    """``GET /dashboard/sign-in?token=…``, typed or opened from a terminal."""

    @pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "none"}])
    def test_opens_a_session(self, client: FlaskClient, cast: Cast, headers: dict[str, str]) -> None:
        response = client.get(cast.acme.link(), headers=headers)
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard")
        assert (cookie(response)["samesite"], cookie(response)["httponly"]) == ("Strict", True)
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert client.get("/dashboard").status_code == 200
        assert counted(cast.acme) == (0, 0, 0)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "same-origin"},
            {"Referer": "https://elsewhere.example/"},
            {"Origin": "https://elsewhere.example"},
        ],
        ids=str,
    )
    def test_is_refused_where_a_page_led_to_it(self, client: FlaskClient, cast: Cast, headers: dict[str, str]) -> None:
        link = cast.acme.link()
        response = client.get(link, headers=headers)
        assert response.status_code == 403
        assert "paste it there and press Enter" in Page(response).text
        assert link.partition("=")[2] not in response.text
        assert "Set-Cookie" not in response.headers
        assert response.headers["Referrer-Policy"] == "no-referrer"

    def test_what_is_no_token_is_refused(self, client: FlaskClient) -> None:
        for token in ("", "a.b.c", "\u202e\U0001f600", "x" * 5000):
            response = client.get("/dashboard/sign-in", query_string={"token": token})
            assert response.status_code == 401
            assert Page(response).notice.startswith("This link is no longer valid")


@pytest.mark.parametrize("route", SIGNED_IN_PAGES, ids=str)
class TestEveryPage:
    """Each route that declares a session needs one that is good at that moment."""

    def open(self, client: FlaskClient, route: Route, agent: Agent) -> TestResponse:
        """What the route answers."""
        form = None if route.method == "GET" else {"form_key": new_form_key(NOON)}
        return client.open(route.path(agent.agent_id), method=route.method, headers=SAME_ORIGIN, data=form)

    def test_asks_to_sign_in(self, client: FlaskClient, cast: Cast, route: Route) -> None:
        response = self.open(client, route, cast.acme)
        refused(response, 401, "Sign in to see your organization.")
        assert response.headers["Cache-Control"] == "no-store"
        # The browser may have a session all the same: SameSite keeps it back where another site's link led here.
        assert "Set-Cookie" not in response.headers

    def test_is_there_with_a_session_and_counts_no_request(self, client: FlaskClient, cast: Cast, route: Route) -> None:
        make_quotas(cast.acme)
        response = self.open(with_session(client, cast.acme), route, cast.acme)
        # There is nothing with the route's example id; the page of a new credential has its secret.
        expected = (
            404
            if re.search("<uuid:(credential|finding|resource_server|provisioning_rule|target)_id>", route.rule)
            else 200
        )
        if route.method == "POST" and expected == 200 and not route.rule.endswith("/rotate"):
            # Nothing else was filled in.
            expected = 400 if route.rule.endswith(("/new", "/edit", "/trust", "/test")) else 303
        assert response.status_code == expected
        assert response.headers["Cache-Control"] == "no-store"
        assert counted(cast.acme) == (0, 0, 0)

    @pytest.mark.parametrize(
        "changed",
        [
            {"audience": "http://localhost:3000"},
            {"audience": "http://localhost:3000/dashboard/"},
            {"audience": "http://localhost:3000/dashboard/sign-in"},
            {"issuer": "https://elsewhere.example"},
            {"scope": "agents:read"},
            {"scope": ""},
            {"jkt": "a" * 43},
            {"ttl": -60},
            {"organization_id": "org-00000000-0000-4000-8000-000000000000"},
        ],
        ids=str,
    )
    def test_refuses_a_session_that_is_not_one(
        self, client: FlaskClient, cast: Cast, route: Route, changed: dict[str, Any]
    ) -> None:
        response = self.open(with_session(client, cast.acme, **changed), route, cast.acme)
        refused(response, 401, ENDED)
        assert is_deleted(response)

    def test_ends_when_the_token_is_revoked_or_the_agent_is_suspended_or_deleted_or_loses_the_scope(
        self, client: FlaskClient, cast: Cast, services: Services, route: Route
    ) -> None:
        token = session_of(cast.acme)
        revoke(client, cast.acme, token)
        client.set_cookie("agentidp_session", token, path="/dashboard")
        refused(self.open(client, route, cast.acme), 401, ENDED)
        for change in ({"status": "suspended"}, {"scopes": ["agents:read", "agents:write"]}, None):
            agent = make_agent(services, cast.acme.organization_id, name=str(change))
            path, headers = f"/api/v1/agents/{agent.agent_id}", cast.acme.bearer()
            if change:
                assert client.patch(path, json=change, headers=headers).status_code == 200
            else:
                assert client.delete(path, headers=headers).status_code == 204
            for token in (session_of(agent), agent.token()):
                client.set_cookie("agentidp_session", token, path="/dashboard")
                refused(self.open(client, route, cast.acme), 401, ENDED)

    def test_ends_when_a_credential_of_the_agent_is_revoked_but_not_a_token_for_the_api(
        self, client: FlaskClient, cast: Cast, clock: Clock, route: Route
    ) -> None:
        credentials = f"/api/v1/agents/{cast.acme.agent_id}/credentials"
        revoked, kept = [
            client.post(credentials, headers=cast.acme.bearer()).json["credentialId"] for _ in ("revoked", "kept")
        ]
        assert client.delete(f"{credentials}/{revoked}", headers=cast.acme.bearer()).status_code == 204
        clock.advance(seconds=1)
        before, pasted = session_of(cast.acme), cast.acme.token()
        client.set_cookie("agentidp_session", before, path="/dashboard")
        assert client.get("/dashboard").status_code == 200
        clock.advance(seconds=1)
        assert client.delete(f"{credentials}/{kept}", headers=cast.acme.bearer()).status_code == 204
        refused(self.open(client, route, cast.acme), 401, ENDED)
        client.set_cookie("agentidp_session", pasted, path="/dashboard")
        assert client.get("/dashboard").status_code == 200

    def test_does_not_take_a_bearer_token_for_a_session(self, client: FlaskClient, cast: Cast, route: Route) -> None:
        headers = SAME_ORIGIN | cast.acme.bearer()
        response = client.open(route.path(cast.acme.agent_id), method=route.method, headers=headers)
        refused(response, 401, "Sign in to see your organization.")


def return_to(response: TestResponse) -> str:
    """The page to which the forms of a sign-in page lead; "" if it is the overview."""
    [query] = {urlsplit(str(form["action"])).query for form in Page(response).all("form")}
    [page] = parse_qs(query).get("return_to", [""])
    return page


class TestThePageAskedFor:
    """Who signs in is led to the page that they asked for."""

    @pytest.mark.parametrize(
        "page",
        [
            f"/findings/{NOWHERE}",
            "/agents?search=caf%C3%A9+%26&sort=tokens",
            f"/agents/{NOWHERE}/days/2026-04-14",
            "?days=7",
            "/audit?since=2026-04-01T00:00:00%2B02:00",
        ],
    )
    def test_is_shown_after_signing_in_whatever_was_typed_wrong_before(
        self, client: FlaskClient, cast: Cast, page: str
    ) -> None:
        asked = client.get(f"/dashboard{page}")
        assert (asked.status_code, return_to(asked)) == (401, page)
        action = Page(asked).all("form")[0]["action"]
        wrong = {"client_id": cast.acme.client_id, "client_secret": "wrong"}
        refusal = client.post(action, data=wrong, headers=SAME_ORIGIN)
        assert (refusal.status_code, return_to(refusal)) == (401, page)
        for form in (wrong | {"client_secret": cast.acme.client_secret}, {"token": cast.acme.token()}):
            response = client.post(action, data=form, headers=SAME_ORIGIN)
            assert (response.status_code, response.headers["Location"]) == (303, f"/dashboard{page}")

    def test_is_below_the_path_of_the_issuer(self, services: Services, clock: Clock) -> None:
        settings = settings_for(str(services.settings.database_url), issuer="https://example.com/idp")
        app = create_app(settings, clock=clock)
        agent = make_agent(app.extensions["agentidp"], make_organization(app.extensions["agentidp"]))
        response = app.test_client().post(
            "/dashboard/sign-in?return_to=/agents", data={"token": agent.token()}, headers=SAME_ORIGIN
        )
        app.extensions["agentidp"].close()
        assert response.headers["Location"] == "/idp/dashboard/agents"

    @pytest.mark.parametrize(
        "page",
        [
            "https://elsewhere.example/",
            "//elsewhere.example",
            "\\\\elsewhere.example",
            ".elsewhere.example",
            "@elsewhere.example",
            ":80@elsewhere.example",
            "javascript:alert(1)",
            "agents",
            "/../api/docs",
            "/%2e%2e/api/docs",
            "/agents\r\nSet-Cookie: a=b",
            "/agents\n",
            "/agents#x",
            "/agents?x=<script>",
            '/agents?x="',
            "/agent\u017f",
            "/agents.csv",
            "/sign-in?token=x",
            "/sign-in/oidc",
            "/sign-out",
            "//sign-out",
            "/agents//sign-out",
            "?" + "x" * MAX_LENGTH,
        ],
    )
    def test_is_never_on_another_site(self, client: FlaskClient, cast: Cast, page: str) -> None:
        response = client.get("/dashboard/sign-in", query_string={"return_to": page})
        assert (response.status_code, return_to(response)) == (200, "")
        form = {"token": cast.acme.token()}
        response = client.post("/dashboard/sign-in", query_string={"return_to": page}, data=form, headers=SAME_ORIGIN)
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard")

    def test_is_at_most_so_long(self, client: FlaskClient) -> None:
        page = "?" + "x" * (MAX_LENGTH - 1)
        assert return_to(client.get("/dashboard/sign-in", query_string={"return_to": page})) == page

    def test_is_no_download_and_no_change(self, client: FlaskClient) -> None:
        assert return_to(client.get("/dashboard/agents.csv")) == ""
        assert return_to(client.post(f"/dashboard/agents/{NOWHERE}/suspend", headers=SAME_ORIGIN)) == ""

    @pytest.mark.parametrize(
        ("site", "mode", "is_led"),
        [
            ("cross-site", "navigate", True),
            ("same-site", "navigate", True),
            # What the page led to, or the browser would ask for ever.
            ("same-origin", "navigate", False),
            ("none", "navigate", False),
            ("cross-site", "no-cors", False),
        ],
    )
    def test_is_asked_for_again_if_a_link_of_another_site_led_to_it(
        self, client: FlaskClient, site: str, mode: str, is_led: bool
    ) -> None:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        response = client.get("/dashboard/agents?search=a%26b", headers=headers)
        assert response.status_code == 401
        again = {"http-equiv": "refresh", "content": "0; url=/dashboard/agents?search=a%26b"}
        assert (again in Page(response).all("meta")) == is_led

    def test_is_not_asked_for_again_if_the_session_has_ended(self, client: FlaskClient) -> None:
        client.set_cookie("agentidp_session", "none", path="/dashboard")
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        response = client.get("/dashboard", headers=headers)
        assert (response.status_code, Page(response).notice) == (401, ENDED)
        assert not [one for one in Page(response).all("meta") if "http-equiv" in one]

    def test_is_never_a_link_with_a_token(self, client: FlaskClient, cast: Cast) -> None:
        link = cast.acme.link()
        assert client.get(link).status_code == 303
        response = client.get(link)
        assert (response.status_code, return_to(response)) == (401, "")
        assert link.partition("=")[2] not in response.text


class TestWhileSignedIn:
    """Signing in once more, in vain."""

    def test_a_wrong_secret_token_or_link_leaves_the_session_alone(self, signed_in: FlaskClient, cast: Cast) -> None:
        for response in (
            sign_in(signed_in, cast.acme, client_id=cast.acme.client_id, client_secret="wrong"),
            sign_in(signed_in, cast.acme, token="x"),
            signed_in.get("/dashboard/sign-in?token=x"),
        ):
            assert response.status_code == 401
            assert "Set-Cookie" not in response.headers
        assert signed_in.get("/dashboard").status_code == 200


def test_a_page_that_notices_the_end_of_its_session_leads_to_the_reason(client: FlaskClient) -> None:
    response = client.get("/dashboard/sign-in?ended")
    assert (response.status_code, Page(response).notice) == (200, ENDED)
    assert Page(client.get("/dashboard/sign-in")).notice == ""


class TestSigningOut:
    """``POST /dashboard/sign-out``."""

    def test_takes_the_cookie_away_and_clears_what_was_shown(self, client: FlaskClient, cast: Cast) -> None:
        sign_in(client, cast.acme)
        response = client.post("/dashboard/sign-out", headers=SAME_ORIGIN)
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard/sign-in?signed-out")
        assert response.headers["Clear-Site-Data"] == '"cache"'
        assert is_deleted(response)
        refused(client.get("/dashboard"), 401, "Sign in to see your organization.")

    def test_ends_the_session_also_where_the_cookie_was_copied(self, client: FlaskClient, cast: Cast) -> None:
        token = cookie(sign_in(client, cast.acme)).value
        client.post("/dashboard/sign-out", headers=SAME_ORIGIN)
        client.set_cookie("agentidp_session", token, path="/dashboard")
        refused(client.get("/dashboard"), 401, ENDED)

    def test_leaves_a_token_for_the_api_that_was_pasted_alone(self, client: FlaskClient, cast: Cast) -> None:
        token = cast.acme.token()
        sign_in(client, cast.acme, token=token)
        assert client.post("/dashboard/sign-out", headers=SAME_ORIGIN).status_code == 303
        answer = client.get("/api/v1/analytics/tokens", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200

    def test_is_no_link(self, signed_in: FlaskClient) -> None:
        response = signed_in.get("/dashboard/sign-out")
        assert (response.status_code, response.headers["Allow"]) == (405, "OPTIONS, POST")
        assert response.mimetype == "text/html"


@pytest.mark.parametrize("path", ["/dashboard/sign-in", "/dashboard/sign-out"])
class TestAnotherSitesPage:
    """Cross-site request forgery, also of signing in."""

    def post(self, client: FlaskClient, cast: Cast, path: str, headers: dict[str, str]) -> TestResponse:
        """A form that would work, with a browser's headers."""
        form = {"client_id": cast.acme.client_id, "client_secret": cast.acme.client_secret}
        host = headers.get("Host", "localhost").partition(":")[0]
        client.set_cookie("agentidp_session", session_of(cast.acme), domain=host, path="/dashboard")
        return client.post(path, data=form, headers=headers)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
            {"Sec-Fetch-Site": "nonsense"},
            {"Origin": "https://elsewhere.example"},
            {"Origin": "https://localhost.elsewhere.example"},
            {"Origin": "https://elsewhere.example:3000"},
            {"Origin": "http://localhost:3001"},
            {"Origin": "http://user@localhost:3000"},
            {"Origin": "localhost"},
            {"Origin": "null"},
        ],
        ids=str,
    )
    def test_is_refused(self, client: FlaskClient, cast: Cast, path: str, headers: dict[str, str]) -> None:
        response = self.post(client, cast, path, headers)
        assert response.status_code == 403
        assert "so nothing was done" in Page(response).text
        assert "Set-Cookie" not in response.headers
        assert client.get("/dashboard").status_code == 200
        assert counted(cast.acme) == (0, 0, 0)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},
            {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
            {"Origin": "http://localhost"},
            {"Origin": "http://idp.internal:8080", "Host": "idp.internal:8080"},
            # The issuer's, where a proxy has changed Host.
            {"Origin": "http://localhost:3000", "Host": "backend"},
            {},
        ],
        ids=str,
    )
    def test_ones_own_is_not(self, client: FlaskClient, cast: Cast, path: str, headers: dict[str, str]) -> None:
        assert self.post(client, cast, path, headers).status_code == 303


def test_every_route_that_changes_something_is_tried_from_another_site() -> None:
    modules = (
        test_agent_actions,
        test_agent_form,
        test_alert_targets,
        test_dormancy,
        test_provisioning_rules,
        test_quotas,
        test_resource_servers,
    )
    actions = {action for module in modules for action in module.ACTIONS}
    tried = {"/dashboard/sign-in", "/dashboard/sign-out", *actions, test_finding.ROUTE}
    assert {route.rule for route in PAGES if route.method not in SAFE_METHODS} == tried


def test_no_secret_is_logged(client: FlaskClient, cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    sign_in(client, cast.acme)
    link = cast.acme.link()
    assert [client.get(link).status_code for _ in range(2)] == [303, 401]
    client.get("/dashboard")
    sign_in(client, cast.acme, token=cast.acme.token())
    logged = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert logged.count("/dashboard/sign-in") == 4
    assert not re.search(r"token=|eyJ", logged)
    assert cast.acme.client_secret not in logged
    assert f"'agent': '{cast.acme.client_id}'" in logged
