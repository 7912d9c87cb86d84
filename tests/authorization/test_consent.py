"""A person's consent: who may give it, in which browser, and what the page says."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.config import LEEWAY
from agentidp.dashboard.person import MAX_LENGTH
from agentidp.dashboard.session import cookie_name
from agentidp.openid.flows import FORM_CHARACTERS, LIFETIME, build_cookie_name, find_form_key
from tests.authorization.conftest import ISSUER, LOOPBACK_URI, Editor, editor_of, returned
from tests.conftest import Cast
from tests.dashboard.company import Company
from tests.dashboard.conftest import SAME_ORIGIN, Page, cookie_header, store_cookies
from tests.factories import NOON, Clock, execute


@pytest.fixture
def other_browser(app: Flask) -> FlaskClient:
    """The browser of another person."""
    return app.test_client()


class TestPage:
    """The page says who asks, for what, at which resource server, and where the answer goes."""

    def test_says_what_is_asked(self, editor: Editor) -> None:
        page = Page(editor.authorize())
        assert "Let editor act for you?" in page.words
        assert f"editor of Acme asks to use Tickets in your name: {editor.resource}" in page.words
        assert "tickets:read tickets:write" in page.words
        assert "tickets:delete" not in page.words
        assert "Your answer goes to editor.example" in page.words
        assert "Any program on this computer" not in page.words
        assert "You are signed in as Anna Berg." in page.words
        assert "The permission ends after 30 days at the latest." in page.words
        assert "(new)" not in page.words
        assert page.all("script") == []

    @pytest.mark.parametrize(
        ("uri", "destination"),
        [
            (LOOPBACK_URI.replace(".1/", ".1:4000/"), "a program on this computer (127.0.0.1)"),
            ("cursor://anysphere.cursor-mcp/oauth/callback", "the app that opens cursor: links"),
            ("http://[::1]:4000/callback", "a program on this computer (::1)"),
        ],
    )
    def test_says_where_the_answer_goes(self, editor: Editor, uri: str, destination: str) -> None:
        path = f"/api/v1/agents/{editor.agent.client_id}"
        uris = [LOOPBACK_URI, "http://[::1]/callback", "cursor://anysphere.cursor-mcp/oauth/callback"]
        changed = editor.client.patch(path, json={"redirectUris": uris}, headers=editor.admin.bearer())
        assert changed.status_code == 200
        response = editor.authorize(redirect_uri=uri)
        words = Page(response).words
        assert f"Your answer goes to {destination}. Any program on this computer can pretend to be this app" in words

    def test_cannot_be_framed_cached_or_scripted(self, editor: Editor) -> None:
        headers = editor.authorize().headers
        # Chromium would apply form-action to the redirects of the app.
        assert headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        # The address has the provider's code. With no-referrer, the form would be refused for its "Origin: null".
        assert headers["Referrer-Policy"] == "strict-origin"
        assert "Cross-Origin-Opener-Policy" not in headers

    def test_marks_what_is_new(self, editor: Editor) -> None:
        editor.redeem(editor.code(scope="tickets:read"))
        words = Page(editor.authorize()).words
        assert "tickets:write (new)" in words
        assert "tickets:read (new)" not in words

    def test_marks_what_is_new_for_a_person_with_many_newer_grants_to_another_agent(self, editor: Editor) -> None:
        editor.redeem(editor.code(scope="tickets:read"))
        statement = """
            insert into grants (
                organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, subject_encrypted, resource,
                scopes, token_digest, days, created_at, expires_at, last_used_at
            )
            select
                organization_id, gen_random_uuid(), %s::uuid, delegation_rule_id, issuer, subject, subject_encrypted,
                resource, scopes, sha256(number::text::bytea), days, created_at + interval '1 second', expires_at,
                last_used_at
            from grants, generate_series(1, 101) as number
            where organization_id = %s
        """
        execute(editor.admin.database_url, statement, editor.admin.client_id, editor.admin.organization_id)
        assert "tickets:write (new)" in Page(editor.authorize()).words

    def test_marks_what_the_person_no_longer_allows(self, editor: Editor, clock: Clock) -> None:
        editor.redeem(editor.code(scope="tickets:read"))
        path = f"/api/v1/agents/{editor.agent.client_id}/tokens"
        assert editor.client.delete(path, headers=editor.admin.bearer()).status_code == 204
        clock.advance(seconds=1)
        assert "(new)" not in Page(editor.authorize()).words
        editor.redeem(editor.code(scope="tickets:write"))
        words = Page(editor.authorize()).words
        assert "tickets:read (new)" in words
        assert "tickets:write (new)" not in words

    def test_scopes_of_our_own_api_are_none_of_the_resource_server(self, editor: Editor) -> None:
        words = Page(editor.authorize(scope="analytics:read agents:read")).words
        assert "tickets:read tickets:write" in words

    def test_is_shown_each_time(self, editor: Editor) -> None:
        editor.redeem(editor.code())
        assert editor.authorize().status_code == 200

    def test_names_are_text(self, editor: Editor) -> None:
        editor.provider.claims["name"] = "<b>Eve</b>"
        assert "<b>Eve" not in editor.authorize().text


class TestAnswer:
    """Only the person who was asked can answer, once, in the same browser."""

    def test_a_refusal_is_recorded_and_the_client_learns_it(self, editor: Editor) -> None:
        parameters = returned(editor.answer(editor.authorize(), "refuse"))
        assert parameters.pop("error_description")
        assert parameters == {"error": "access_denied", "state": "the state", "iss": ISSUER}
        [(action, actor, after)] = editor.events()
        assert (action, after["agentId"]) == ("grant.refused", editor.agent.client_id)
        assert actor.startswith("anna-1 at ")
        assert editor.stored_grants() == 0

    def test_a_code_comes_with_state_and_issuer(self, editor: Editor) -> None:
        parameters = returned(editor.answer(editor.authorize()))
        assert parameters.pop("code")
        assert parameters == {"state": "the state", "iss": ISSUER}

    def test_the_query_of_the_redirect_uri_stays_and_other_parameters_are_ignored(self, editor: Editor) -> None:
        redirect_uri = f"{editor.redirect_uri}?a=b"
        path, headers = f"/api/v1/agents/{editor.agent.client_id}", editor.admin.bearer()
        assert editor.client.patch(path, json={"redirectUris": [redirect_uri]}, headers=headers).status_code == 200
        page = editor.authorize(redirect_uri=redirect_uri, state=None, nonce="n", ui_locales="de", unknown="x")
        parameters = returned(editor.answer(page))
        assert parameters.pop("code")
        assert parameters == {"a": "b", "iss": ISSUER}

    def test_is_accepted_once(self, editor: Editor) -> None:
        page = editor.authorize()
        assert editor.answer(page).status_code == 303
        for second_answer in ("allow", "refuse"):
            response = editor.answer(page, second_answer)
            assert response.status_code == 409
            assert "You have already answered" in Page(response).words
            assert "Your first answer counts, and it goes to editor.example." in Page(response).words
        assert editor.stored_grants() == 1

    def test_stays_used_while_a_server_whose_clock_is_behind_could_accept_it(self, editor: Editor) -> None:
        editor.answer(editor.authorize())
        query = "select max(expires_at) from used_identifiers where organization_id = %s"
        [[expires_at]] = execute(editor.admin.database_url, query, editor.admin.organization_id)
        assert expires_at == NOON + LIFETIME + timedelta(seconds=2 * LEEWAY)

    def test_is_not_accepted_of_another_site(self, editor: Editor) -> None:
        form = {"consent": Page(editor.authorize()).typed["consent"], "answer": "allow"}
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            assert editor.client.post("/authorize", data=form, headers=headers).status_code == 403
        assert editor.stored_grants() == 0

    def test_another_site_does_not_replace_the_cookie(self, editor: Editor, other_browser: FlaskClient) -> None:
        """A browser leaves the cookie out of a form of another site, and stores the cookie of the response."""
        response = other_browser.post("/authorize", headers={"Sec-Fetch-Site": "cross-site"})
        assert (response.status_code, "Set-Cookie" in response.headers) == (403, False)

    @pytest.mark.parametrize(
        ("issuer", "prefix", "path"),
        [
            ("https://id.example", "__Host-agentidp_sign_in_", "/"),
            ("https://id.example/idp", "__Secure-agentidp_sign_in_", "/idp"),
        ],
    )
    def test_no_sibling_subdomain_can_set_the_cookie_of_a_sign_in(
        self, app: Flask, clock: Clock, issuer: str, prefix: str, path: str
    ) -> None:
        """A browser accepts a cookie with the prefix __Host- only from the host itself."""
        other = create_app(replace(app.extensions["agentidp"].settings, issuer=issuer), clock=clock)
        with closing(other.extensions["agentidp"]):
            begun = other.test_client().get("/authorize/grants", base_url="https://id.example")
        [(name, cookie)] = SimpleCookie(begun.headers["Set-Cookie"]).items()
        assert name.startswith(prefix)
        assert (cookie["path"], cookie["secure"], cookie["domain"]) == (path, True, "")

    def test_is_not_accepted_in_another_browser(self, editor: Editor, other_browser: FlaskClient) -> None:
        page = editor.authorize()
        assert editor.answer(page, client=other_browser).status_code == 400
        editor.authorize(client=other_browser)
        assert editor.answer(page, client=other_browser).status_code == 400
        assert editor.stored_grants() == 0

    def test_expires(self, editor: Editor, clock: Clock) -> None:
        page = editor.authorize()
        clock.advance(seconds=LIFETIME.total_seconds())
        assert editor.answer(page).status_code == 400

    @pytest.mark.parametrize("consent", ["", "x", "é", "A" * 400])
    def test_cannot_be_forged(self, editor: Editor, consent: str) -> None:
        editor.authorize()
        form = {"consent": consent, "answer": "allow"}
        assert editor.client.post("/authorize", data=form, headers=SAME_ORIGIN).status_code == 400

    def test_needs_one_of_the_buttons(self, editor: Editor) -> None:
        assert editor.answer(editor.authorize(), "").status_code == 400

    def test_a_redirect_uri_that_was_removed_gets_no_code(self, editor: Editor) -> None:
        page = editor.authorize()
        path = f"/api/v1/agents/{editor.agent.client_id}"
        changed = editor.client.patch(path, json={"redirectUris": []}, headers=editor.admin.bearer())
        assert changed.status_code == 200
        assert editor.answer(page).status_code == 400
        assert editor.stored_grants() == 0


class TestTabs:
    """An editor that connects several servers opens several tabs of a browser that has no cookie yet."""

    def test_all_sign_ins_that_are_begun_at_once_end(self, editor: Editor, app: Flask) -> None:
        tab, cookies = app.test_client(use_cookies=False), dict[str, str]()

        def open_at_once(urls: list[str]) -> list[TestResponse]:
            """Open tabs that all send the cookies of the moment, and store the cookies of the responses afterwards."""
            responses = [tab.get(url, headers=cookie_header(cookies)) for url in urls]
            for response in responses:
                store_cookies(cookies, response)
            return responses

        begun = open_at_once([f"/authorize?{editor.query(state=state)}" for state in "abc"])
        pages = open_at_once([editor.provider.authorize(response.headers["Location"]) for response in begun])
        for state, page in zip("abc", pages, strict=True):
            assert page.status_code == 200, page.text
            form = {"consent": Page(page).typed["consent"], "answer": "allow"}
            answer = tab.post("/authorize", data=form, headers=SAME_ORIGIN | cookie_header(cookies))
            assert returned(answer)["state"] == state
        assert editor.stored_grants() == 3

    def test_further_sign_ins_do_not_end_a_consent(self, editor: Editor) -> None:
        """A page of another site can begin sign-ins."""
        page = editor.authorize()
        for _ in range(5):
            editor.client.get(f"/authorize?{editor.query(state='x' * 1500)}")
        assert editor.answer(page).status_code == 303

    def test_binds_a_form_to_the_newest_cookie_of_a_form(self, app: Flask) -> None:
        """The newest cookie is the last cookie that is deleted if all cookies would be too long."""
        keys = [letter * FORM_CHARACTERS for letter in "ab"]
        with app.test_request_context():
            names = [build_cookie_name(key) for key in keys]
        headers = cookie_header(dict(zip(names, keys, strict=True)))
        with app.test_request_context(headers=headers):
            assert find_form_key() == keys[1]

    def test_completed_sign_ins_do_not_end_a_consent(self, editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
        """A page of another site can complete sign-ins in a window if the provider does not ask the person."""
        monkeypatch.setattr("agentidp.openid.flows.MAX_CHARACTERS", 1_500)
        page = editor.authorize()
        for _ in range(12):
            assert editor.authorize().status_code == 200
        assert editor.answer(page).status_code == 303

    @pytest.mark.parametrize(
        "name", ["__Host-agentidp_sign_in_{:016x}", "agentidp_sign_in_{:08x}", "agentidp_sign_in_\x01{}"]
    )
    def test_cookies_with_other_names_neither_end_a_consent_nor_are_repeated(self, editor: Editor, name: str) -> None:
        """A sibling subdomain can set them. gunicorn sends no response that contains their control characters."""
        page = editor.authorize()
        for number in range(50):
            editor.client.set_cookie(name.format(number), "x" * 43)
        begun = editor.client.get(f"/authorize?{editor.query()}")
        assert len(begun.headers.getlist("Set-Cookie")) == 1
        assert editor.answer(page).status_code == 303

    def test_another_site_cannot_fill_the_header_with_cookies(self, editor: Editor, app: Flask) -> None:
        """nginx would refuse all requests of a browser that sends a header of more than 8 KB (deploy/nginx.conf)."""
        tab, cookies = app.test_client(use_cookies=False), dict[str, str]()
        for _ in range(6):
            for url in (f"/authorize?{editor.query()}", "/dashboard/sign-in/oidc?return_to=/agents"):
                store_cookies(cookies, tab.get(url, headers=cookie_header(cookies)))
        longest_session = {f"__Host-{cookie_name(app.extensions['agentidp'].settings)}": "x" * MAX_LENGTH}
        assert len(f"Cookie: {cookie_header(cookies | longest_session)['Cookie']}\r\n") < 8 * 1024

    def test_a_tab_that_must_wait_for_the_others_is_reloaded(
        self, editor: Editor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Few tabs of a network can exchange their codes at the same time."""
        begun = editor.client.get(f"/authorize?{editor.query()}")
        path = editor.provider.authorize(begun.headers["Location"])
        with monkeypatch.context() as others:
            others.setattr("agentidp.openid.places.PLACES_PER_NETWORK", 0)
            for _ in range(3):
                response = editor.client.get(path)
                assert (response.status_code, response.headers["Refresh"]) == (503, "1")
                assert "This page tries again by itself." in Page(response).words
        assert editor.client.get(path).status_code == 200

    def test_a_sign_in_begins_again_if_the_organization_has_too_many_requests(
        self, editor: Editor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The provider's code has been used, so the request for the callback cannot be repeated."""
        monkeypatch.setattr("agentidp.services.fair_queue.MAX_REQUESTS_PER_ORGANIZATION", 0)
        page = editor.authorize()
        assert (page.status_code, page.headers["Refresh"]) == (503, f"2; url={ISSUER}/authorize?{editor.query()}")

    def test_an_answer_can_be_repeated_if_the_organization_has_too_many_requests(
        self, editor: Editor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = editor.authorize()
        with monkeypatch.context() as others:
            others.setattr("agentidp.services.fair_queue.MAX_REQUESTS_PER_ORGANIZATION", 0)
            response = editor.answer(page)
        assert response.status_code == 429
        assert "Your answer was not stored. Reload this page to send it again." in Page(response).words
        assert editor.answer(page).status_code == 303

    def test_a_completed_sign_in_deletes_its_cookie(self, editor: Editor) -> None:
        cookies: dict[str, str] = {}
        begun = editor.client.get(f"/authorize?{editor.query()}")
        store_cookies(cookies, begun)
        [flow_name] = cookies
        store_cookies(cookies, editor.client.get(editor.provider.authorize(begun.headers["Location"])))
        # The remaining cookie binds the consent to the browser.
        assert flow_name not in cookies
        assert len(cookies) == 1


class TestPerson:
    """Only people of the organization whom a rule accepts can let its agents act."""

    def test_a_sign_in_that_another_browser_began_is_refused(self, editor: Editor, other_browser: FlaskClient) -> None:
        begun = other_browser.get(f"/authorize?{editor.query()}")
        assert editor.client.get(editor.provider.authorize(begun.headers["Location"])).status_code == 400

    def test_a_person_of_another_organization_is_refused(
        self, client: FlaskClient, provider: Company, cast: Cast, editor: Editor
    ) -> None:
        """A tenant that makes a client, a rule and a resource server does not reach the people of another tenant."""
        theirs = editor_of(client, provider, cast.outsider)
        provider.claims["organization"] = cast.acme.organization_id
        response = theirs.authorize()
        assert response.status_code == 403
        assert "your account does not belong to it" in Page(response).words
        assert "Location" not in response.headers

    def test_a_person_whom_no_rule_covers_sees_whom_to_ask(self, editor: Editor) -> None:
        editor.provider.claims["roles"] = ["watchers"]
        response = editor.authorize()
        page = Page(response)
        assert response.status_code == 403
        assert "Ask an administrator of Acme" in page.words
        [leave] = [link for link in page.links if link.startswith(editor.redirect_uri)]
        assert "error=access_denied" in leave
        assert "state=the+state" in leave

    def test_a_rule_of_another_agent_does_not_count(self, editor: Editor) -> None:
        colleague = editor.admin.colleague("colleague", ["tickets:read"])
        path = f"/api/v1/agents/{colleague.client_id}"
        uris = {"redirectUris": [editor.redirect_uri]}
        assert editor.client.patch(path, json=uris, headers=editor.admin.bearer()).status_code == 200
        assert editor.authorize(client_id=colleague.client_id).status_code == 403

    @pytest.mark.parametrize(
        ("trust", "claims", "status"),
        [
            ({"claims": {"email": "anna@acme.example"}}, {"email": "anna@acme.example"}, 403),
            ({"claims": {"email": "anna@acme.example"}}, {"email": "anna@acme.example", "email_verified": True}, 200),
            # The trust domain has not signed the ID token.
            ({"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example/a"}, {}, 403),
        ],
    )
    def test_a_rule_trusts_only_what_the_provider_has_verified(
        self, editor: Editor, trust: dict[str, Any], claims: dict[str, Any], status: int
    ) -> None:
        path, headers = f"/api/v1/delegation-rules/{editor.rule_id}", editor.admin.bearer()
        rule = editor.client.get(path, headers=headers).json
        assert editor.client.delete(path, headers=headers).status_code == 204
        keys = {"jwksUri": "https://acme.example/keys"} if "issuer" in trust else {}
        trust = {"issuer": editor.provider.issuer} | keys | trust
        editor.make(
            "delegation-rules", {name: rule[name] for name in ("name", "agentIds", "resources")} | {"trust": trust}
        )
        editor.provider.claims |= {"sub": trust.get("subject", "anna-1")} | claims
        assert editor.authorize().status_code == status

    def test_checking_the_address_consumes_nothing(self, editor: Editor) -> None:
        begun = editor.client.get(f"/authorize?{editor.query()}")
        path = editor.provider.authorize(begun.headers["Location"])
        assert editor.client.head(path).status_code == 200
        assert editor.client.get(path).status_code == 200
