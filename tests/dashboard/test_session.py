"""Signing in to the dashboard, staying so, and signing out; and who cannot."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.dashboard.return_page import MAX_LENGTH
from agentidp.dashboard.session import LIFETIME
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from tests.dashboard.conftest import (
    ENDED,
    SAME_ORIGIN,
    Page,
    Wire,
    cookie,
    counted,
    is_deleted,
    led_to,
    post,
    refused,
    revoke,
    session_of,
    sign_in,
    with_cookie,
)
from tests.factories import NOON, Agent, Api, Clock, make_agent, make_organization, make_quotas
from tests.routes import NOWHERE, REVOKED_TOKEN

NO_TOKEN = "This token is invalid, expired or revoked."
NOT_FOR_US = "The access token is for {}, not for http://localhost:3000/api/v1. Leave out the parameter resource."
BOUND = "This token is bound to a key, and a browser cannot prove that it has the key."
WRONG = "The client ID or the secret is wrong, or the agent is not active."


class TestWithACredential:
    """client_id and client_secret in the form."""

    def test_opens_a_session_with_one_scope_and_twelve_hours_that_is_of_no_use_at_the_api_and_counts_no_token(
        self, client: FlaskClient, acme: Agent
    ) -> None:
        response = sign_in(client, acme)
        assert led_to(response) == "/dashboard"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Acme" in Page(client.get("/dashboard")).text
        token, now = cookie(response).value, int(NOON.timestamp())
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims == {
            "iss": "http://localhost:3000",
            "sub": acme.client_id,
            "client_id": acme.client_id,
            "aud": "http://localhost:3000/dashboard",
            "iat": now,
            "exp": now + 12 * 3600,
            "jti": claims["jti"],
            "organization_id": acme.organization_id,
            "scope": "analytics:read",
        }
        refusal = client.get("/api/v1/analytics/tokens", headers={"Authorization": f"Bearer {token}"})
        assert refusal.status_code == 401
        assert counted(acme) == (0, 0, 1)

    def test_no_quota_refuses_a_session(self, client: FlaskClient, acme: Agent) -> None:
        acme.count(NOON, tokens=1)
        make_quotas(acme, tokens=1)
        assert sign_in(client, acme).status_code == 303

    @pytest.mark.parametrize(
        ("issuer", "name", "path", "secure"),
        [
            ("http://localhost:3000", "agentidp_session", "/dashboard", ""),
            ("https://idp.example", "__Host-agentidp_session", "/", True),
            ("HTTPS://idp.example", "__Host-agentidp_session", "/", True),
            ("https://example.com/idp", "__Secure-agentidp_session", "/idp/dashboard", True),
        ],
    )
    def test_the_cookie_stays_with_our_host_and_out_of_scripts(
        self, wire: Wire, issuer: str, name: str, path: str, secure: Any
    ) -> None:
        client = wire(issuer=issuer)
        services = client.application.extensions["agentidp"]
        agent = make_agent(services, make_organization(services))
        response = sign_in(client, agent)
        morsel = cookie(response)
        assert (morsel.key, morsel["path"], morsel["secure"], morsel["httponly"]) == (
            name,
            path,
            secure,
            True,
        )
        assert (morsel["samesite"], morsel["max-age"], morsel["domain"]) == (
            "Strict",
            str(LIFETIME),
            "",
        )
        dashboard = f"{urlsplit(issuer).path}/dashboard"
        assert response.headers["Location"] == dashboard
        second_response = post(client, "/dashboard/sign-in?return_to=/agents", token=agent.token())
        assert led_to(second_response) == f"{dashboard}/agents"

    @pytest.mark.parametrize("changed", [{"client_secret": "wrong"}, {"client_id": "nobody"}, {"client_secret": ""}])
    def test_a_wrong_one_is_refused_alike(self, client: FlaskClient, acme: Agent, changed: dict[str, str]) -> None:
        form = {"client_id": acme.client_id, "client_secret": acme.client_secret} | changed
        refused(sign_in(client, acme, **form), 401, WRONG)
        # One that names nobody, or shows nothing, counts nothing of Acme.
        assert counted(acme) == (0, 0, int(changed == {"client_secret": "wrong"}))

    @pytest.mark.parametrize(
        ("change", "status", "notice"),
        [
            ({"status": "suspended"}, 401, WRONG),
            (
                {"scopes": ["agents:read"]},
                403,
                "This agent lacks the scope analytics:read, so it cannot sign in to the dashboard.",
            ),
            (
                {"dpopBoundAccessTokens": True},
                403,
                "This agent gets only tokens that are bound to a key, and a browser cannot prove that it has the key. "
                "Use another agent.",
            ),
        ],
        ids=str,
    )
    def test_of_an_agent_that_may_not_sign_in(
        self, client: FlaskClient, acme: Agent, change: dict[str, Any], status: int, notice: str
    ) -> None:
        change_agent(client, acme, change)
        refused(sign_in(client, acme), status, notice)
        # The change was a request.
        assert counted(acme)[:2] == (0, 1)

    def test_is_throttled_as_at_the_token_endpoint_and_together_with_it(
        self, client: FlaskClient, acme: Agent, clock: Clock
    ) -> None:
        max_failures = MAX_FAILURES_PER_MINUTE
        form = {"client_id": acme.client_id, "client_secret": "wrong"}
        for _ in range(max_failures // 2):
            assert sign_in(client, acme, **form).status_code == 401
            assert client.post("/api/v1/token", data=form | {"grant_type": "client_credentials"}).status_code == 401
        response = sign_in(client, acme, **form)
        wait = response.headers["Retry-After"]
        refused(response, 429, f"Too many failed attempts. Try again in {wait} s.")
        # Whoever has the right one is let in all the same.
        assert sign_in(client, acme).status_code == 303
        clock.advance(seconds=int(wait))
        assert sign_in(client, acme, **form).status_code == 401

    def test_a_form_that_cannot_be_read_is_refused(self, client: FlaskClient, acme: Agent) -> None:
        response = client.post("/dashboard/sign-in", json={"token": acme.token()}, headers=SAME_ORIGIN)
        refused(response, 400, "The form cannot be read: the body must be application/x-www-form-urlencoded.")


def change_agent(client: FlaskClient, agent: Agent, change: dict[str, Any] | None) -> None:
    """Change an agent as another agent of its organization. ``None`` deletes the agent."""
    other = agent.colleague("the one that changes")
    api, path = Api(client, other), f"agents/{agent.agent_id}"
    response = api.delete(path) if change is None else api.patch(path, change)
    assert response.status_code in (200, 204)


class TestWithAToken:
    """An access token for the API, pasted into the form."""

    def test_opens_a_session_that_lives_as_long_and_counts_nothing(
        self, client: FlaskClient, acme: Agent, clock: Clock
    ) -> None:
        token = acme.token()
        response = sign_in(client, acme, token=token)
        assert led_to(response) == "/dashboard"
        assert (cookie(response).value, cookie(response)["max-age"]) == (token, "3600")
        assert client.get("/dashboard").status_code == 200
        clock.advance(seconds=3610)
        refused(client.get("/dashboard"), 401, ENDED)
        assert counted(acme) == (0, 0, 0)

    @pytest.mark.parametrize(
        ("token", "status", "notice", "rejected"),
        [
            # The response and the count are those of the API.
            ({"audience": "https://api.example"}, 401, NOT_FOR_US.format("https://api.example"), 1),
            ({"ttl": -60}, 401, "The access token expired at 2026-04-15T11:59:00Z. Request a new one.", 1),
            ({"scope": "agents:read"}, 403, "This token lacks the scope analytics:read.", 0),
            ({"jkt": "a" * 43}, 403, BOUND, 0),
            ("x" * 5000, 401, NO_TOKEN, 0),
            ("\u202e\U0001f600", 401, NO_TOKEN, 0),
        ],
        ids=str,
    )
    def test_what_is_no_good_is_refused(
        self, client: FlaskClient, acme: Agent, token: str | dict[str, Any], status: int, notice: str, rejected: int
    ) -> None:
        pasted = acme.token(**token) if isinstance(token, dict) else token
        refused(sign_in(client, acme, token=pasted), status, notice)
        assert counted(acme) == (0, 0, rejected)

    def test_a_revoked_one_is_refused_and_counted(self, client: FlaskClient, acme: Agent) -> None:
        token = acme.token()
        revoke(client, acme, token)
        refused(sign_in(client, acme, token=token), 401, REVOKED_TOKEN["message"])
        assert counted(acme) == (0, 0, 1)


class TestTheEndOfASession:
    """A session ends, or never was valid. All pages check sessions in the same way: tests/dashboard/test_routes.py."""

    def ended(self, client: FlaskClient, token: str) -> None:
        """The token in the cookie is no session."""
        refused(with_cookie(client, token).get("/dashboard"), 401, ENDED)

    @pytest.mark.parametrize(
        "changed",
        [
            {"audience": "http://localhost:3000/dashboard/"},
            {"audience": "http://localhost:3000/dashboard/sign-in"},
            {"scope": "agents:read"},
            {"jkt": "a" * 43},
            {"ttl": -60},
            {"organization_id": "org-00000000-0000-4000-8000-000000000000"},
        ],
        ids=str,
    )
    def test_another_token_is_none(self, client: FlaskClient, acme: Agent, changed: dict[str, Any]) -> None:
        self.ended(client, session_of(acme, **changed))

    def test_by_revocation_of_its_token(self, client: FlaskClient, acme: Agent) -> None:
        token = session_of(acme)
        revoke(client, acme, token)
        self.ended(client, token)

    @pytest.mark.parametrize(
        "change", [{"status": "suspended"}, {"scopes": ["agents:read", "agents:write"]}, None], ids=str
    )
    def test_with_its_agent(self, client: FlaskClient, acme: Agent, change: dict[str, Any] | None) -> None:
        tokens = session_of(acme), acme.token()
        change_agent(client, acme, change)
        for token in tokens:
            self.ended(client, token)

    def test_by_the_end_of_a_credential_of_its_agent_but_for_a_token_for_the_api(
        self, client: FlaskClient, acme: Agent, clock: Clock
    ) -> None:
        api, credentials = Api(client, acme), f"agents/{acme.agent_id}/credentials"
        revoked, kept = [api.post(credentials).json["credentialId"] for _ in ("revoked", "kept")]
        assert api.delete(f"{credentials}/{revoked}").status_code == 204
        clock.advance(seconds=1)
        token, pasted = session_of(acme), acme.token()
        assert with_cookie(client, token).get("/dashboard").status_code == 200
        # At the instant at which the session began, it ends.
        assert api.delete(f"{credentials}/{kept}").status_code == 204
        self.ended(client, token)
        assert with_cookie(client, pasted).get("/dashboard").status_code == 200


def return_to(response: TestResponse) -> str:
    """The page to which the forms of a sign-in page lead; "" if it is the overview."""
    forms = [form for form in Page(response).all("form") if form["method"] == "post"]
    [query] = {urlsplit(str(form["action"])).query for form in forms}
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
            "?" + "x" * (MAX_LENGTH - 1),
            "/audit?since=2026-04-01T00:00:00%2B02:00",
        ],
    )
    def test_is_shown_after_signing_in_whatever_was_typed_wrong_before(
        self, client: FlaskClient, acme: Agent, page: str
    ) -> None:
        response_of_page = client.get(f"/dashboard{page}")
        assert (response_of_page.status_code, return_to(response_of_page)) == (401, page)
        action = str(Page(response_of_page).all("form")[0]["action"])
        wrong = {"client_id": acme.client_id, "client_secret": "wrong"}
        refusal = post(client, action, **wrong)
        assert (refusal.status_code, return_to(refusal)) == (401, page)
        for form in (wrong | {"client_secret": acme.client_secret}, {"token": acme.token()}):
            assert led_to(post(client, action, **form)) == f"/dashboard{page}"

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
    def test_is_never_on_another_site(self, client: FlaskClient, acme: Agent, page: str) -> None:
        response = client.get("/dashboard/sign-in", query_string={"return_to": page})
        assert (response.status_code, return_to(response)) == (200, "")
        address = f"/dashboard/sign-in?{urlencode({'return_to': page})}"
        assert led_to(post(client, address, token=acme.token())) == "/dashboard"

    def test_is_no_download_and_no_change(self, client: FlaskClient) -> None:
        assert return_to(client.get("/dashboard/agents.csv")) == ""
        assert return_to(post(client, f"/dashboard/agents/{NOWHERE}/suspend")) == ""

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
        second_response = {"http-equiv": "refresh", "content": "0; url=/dashboard/agents?search=a%26b"}
        assert (second_response in Page(response).all("meta")) == is_led

    def test_is_not_asked_for_again_if_the_session_has_ended(self, client: FlaskClient) -> None:
        with_cookie(client, "none")
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        response = client.get("/dashboard", headers=headers)
        assert (response.status_code, Page(response).notice) == (401, ENDED)
        assert not [element for element in Page(response).all("meta") if "http-equiv" in element]

    def test_is_never_a_link_with_a_token(self, client: FlaskClient, acme: Agent) -> None:
        link = acme.link()
        assert client.get(link).status_code == 303
        response = client.get(link)
        assert (response.status_code, return_to(response)) == (401, "")
        assert link.partition("=")[2] not in response.text


def test_signing_in_once_more_in_vain_leaves_the_session_alone(signed_in: FlaskClient, acme: Agent) -> None:
    for response in (
        sign_in(signed_in, acme, client_id=acme.client_id, client_secret="wrong"),
        sign_in(signed_in, acme, token="x"),
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

    def test_takes_the_cookie_away_clears_what_was_shown_and_ends_copies_of_the_session(
        self, client: FlaskClient, acme: Agent
    ) -> None:
        token = cookie(sign_in(client, acme)).value
        response = post(client, "/dashboard/sign-out")
        assert led_to(response) == "/dashboard/sign-in?signed-out"
        assert response.headers["Clear-Site-Data"] == '"cache"'
        assert is_deleted(response)
        refused(with_cookie(client, token).get("/dashboard"), 401, ENDED)

    def test_leaves_a_token_for_the_api_that_was_pasted_alone(self, client: FlaskClient, acme: Agent) -> None:
        token = acme.token()
        sign_in(client, acme, token=token)
        assert post(client, "/dashboard/sign-out").status_code == 303
        second_response = client.get("/api/v1/analytics/tokens", headers={"Authorization": f"Bearer {token}"})
        assert second_response.status_code == 200

    def test_is_no_link(self, signed_in: FlaskClient) -> None:
        response = signed_in.get("/dashboard/sign-out")
        assert (response.status_code, response.headers["Allow"]) == (405, "OPTIONS, POST")
        assert response.mimetype == "text/html"


class TestAnotherSitesPage:
    """Cross-site request forgery, also of signing in. All forms refuse it: tests/dashboard/test_routes.py."""

    def sent(self, client: FlaskClient, acme: Agent, headers: dict[str, str]) -> TestResponse:
        """The response to a form that would work, with a browser's headers."""
        form = {"client_id": acme.client_id, "client_secret": acme.client_secret}
        return client.post("/dashboard/sign-in", data=form, headers=headers)

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
    def test_is_refused(self, client: FlaskClient, acme: Agent, headers: dict[str, str]) -> None:
        response = self.sent(client, acme, headers)
        assert response.status_code == 403
        assert "so nothing was done" in Page(response).text
        assert "Set-Cookie" not in response.headers
        assert counted(acme) == (0, 0, 0)

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
    def test_ones_own_is_not(self, client: FlaskClient, acme: Agent, headers: dict[str, str]) -> None:
        assert self.sent(client, acme, headers).status_code == 303


def test_no_secret_is_logged(client: FlaskClient, acme: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    sign_in(client, acme)
    link = acme.link()
    assert [client.get(link).status_code for _ in range(2)] == [303, 401]
    client.get("/dashboard")
    sign_in(client, acme, token=acme.token())
    logged = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert logged.count("/dashboard/sign-in") == 4
    assert not re.search(r"token=|eyJ", logged)
    assert acme.client_secret not in logged
    assert f"'agent': '{acme.client_id}'" in logged
