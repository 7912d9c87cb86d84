"""Requests that are refused: by a page until client and redirect URI are known, and then by a redirect."""

from __future__ import annotations

import dataclasses
import secrets
import uuid

import pytest

from agentidp.authorization.requests import MAX_QUERY
from agentidp.http.redirect_uri import MAX_REDIRECT_URI, is_redirect_uri, is_registered
from tests.authorization.conftest import ISSUER, LOOPBACK_URI, WEB_URI, Editor, returned
from tests.dashboard.conftest import SAME_ORIGIN, Page
from tests.oauth.clients import application


class TestBeforeClientAndRedirectUriAreKnown:
    """The error is a page, nothing is redirected, and nobody has to sign in."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"client_id": None},
            {"client_id": "nobody"},
            {"client_id": str(uuid.UUID(int=0))},
            {"client_id": str(uuid.uuid4())},
            {"redirect_uri": None},
            {"redirect_uri": "https://evil.example/callback"},
            {"state": "s" * MAX_QUERY},
        ],
    )
    def test_is_a_page(self, editor: Editor, changes: dict[str, str | None]) -> None:
        response = editor.client.get(f"/authorize?{editor.query(**changes)}")
        assert response.status_code == 400
        assert "Location" not in response.headers
        assert Page(response).all("form") == []
        assert editor.provider.requests == []

    def test_the_longest_ones_fit_into_a_cookie(self, editor: Editor) -> None:
        for _ in range(3):
            state = secrets.token_hex(MAX_QUERY)[: MAX_QUERY - len(editor.query(state=""))]
            begun = editor.client.get(f"/authorize?{editor.query(state=state)}")
            assert begun.status_code == 302
            # Browsers store no longer cookies.
            assert all(len(header) <= 4096 for header in begun.headers.getlist("Set-Cookie"))
        assert editor.client.get(f"/authorize?{editor.query(state=f'{state}x')}").status_code == 400
        assert editor.client.get(editor.provider.authorize(begun.headers["Location"])).status_code == 200

    @pytest.mark.parametrize(
        "state",
        ["\xe9", "\\" * 1000, '"' * 1000, "\x01" * 300],
        ids=["not ASCII", "backslashes", "quotation marks", "control characters"],
    )
    def test_characters_that_are_not_percent_encoded_are_a_page(self, editor: Editor, state: str) -> None:
        """The cookie, or the redirect to the app, would have several characters for each."""
        environ = {"QUERY_STRING": f"{editor.query(state=None)}&state={state}"}
        assert editor.client.get("/authorize", environ_overrides=environ).status_code == 400

    @pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
    def test_a_repeated_one_is_a_page(self, editor: Editor, name: str) -> None:
        value = {"client_id": editor.agent.client_id, "redirect_uri": WEB_URI}[name]
        assert editor.client.get(f"/authorize?{editor.query()}&{name}={value}").status_code == 400

    def test_a_client_of_another_organization_needs_its_own_redirect_uri(self, editor: Editor) -> None:
        colleague = editor.admin.colleague("another")
        assert editor.client.get(f"/authorize?{editor.query(client_id=colleague.client_id)}").status_code == 400

    def test_a_deleted_agent_is_unknown(self, editor: Editor) -> None:
        path = f"/api/v1/agents/{editor.agent.client_id}"
        assert editor.client.delete(path, headers=editor.admin.bearer()).status_code == 204
        assert editor.client.get(f"/authorize?{editor.query()}").status_code == 400


def test_without_a_provider_nobody_can_sign_in(editor: Editor) -> None:
    settings = dataclasses.replace(editor.agent.services.settings, oidc=None)
    with application(settings, editor.agent.services.clock) as client:
        response = client.get(f"/authorize?{editor.query()}")
        assert response.status_code == 404
        assert "People cannot sign in here" in Page(response).words
        assert client.post("/authorize", data={"consent": "x"}, headers=SAME_ORIGIN).status_code == 400


CHANGED = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": None}, "unsupported_response_type"),
    ({"response_mode": "form_post"}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"dpop_jkt": "short"}, "invalid_request"),
    ({"request": "x"}, "request_not_supported"),
    ({"request_uri": "https://evil.example"}, "request_uri_not_supported"),
    ({"prompt": "none"}, "consent_required"),
    ({"resource": None}, "invalid_target"),
    ({"resource": "https://unknown.example"}, "invalid_target"),
    ({"scope": "a  b"}, "invalid_scope"),
    ({"scope": "tickets:delete"}, "invalid_scope"),
]


class TestErrorsByRedirect:
    """The client learns of an error after the person has signed in (RFC 9700 section 4.11.2)."""

    @pytest.mark.parametrize(("changes", "error"), CHANGED)
    def test_comes_with_state_and_issuer(self, editor: Editor, changes: dict[str, str | None], error: str) -> None:
        parameters = returned(editor.authorize(**changes))
        assert parameters.pop("error_description")
        assert parameters == {"error": error, "state": "the state", "iss": ISSUER}
        assert editor.stored_grants() == 0

    @pytest.mark.parametrize(("name", "error"), [("scope", "invalid_request"), ("resource", "invalid_target")])
    def test_a_repeated_parameter(self, editor: Editor, name: str, error: str) -> None:
        query = f"{editor.query()}&{name}=https://a.example&{name}=https://b.example"
        assert returned(editor.authorize(query))["error"] == error

    def test_a_suspended_agent(self, editor: Editor) -> None:
        path = f"/api/v1/agents/{editor.agent.client_id}"
        suspended = editor.client.patch(path, json={"status": "suspended"}, headers=editor.admin.bearer())
        assert suspended.status_code == 200
        assert returned(editor.authorize())["error"] == "access_denied"

    def test_a_suspended_organization(self, editor: Editor) -> None:
        editor.suspend_organization()
        assert returned(editor.authorize())["error"] == "access_denied"

    def test_a_clouds_shared_audience(self, editor: Editor) -> None:
        body = {"resource": f"https://{uuid.uuid4()}.example", "name": "cloud", "scopes": ["tickets:read"]}
        editor.make("resource-servers", body | {"audience": "sts.amazonaws.com"})
        assert returned(editor.authorize(resource=body["resource"]))["error"] == "invalid_target"


@pytest.mark.parametrize(
    "uri",
    [
        "https://editor.example/callback",
        "https://editor.example:8443/callback?a=b",
        "http://127.0.0.1/callback",
        "http://localhost:8080/",
        "http://[::1]/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "com.example.app:/callback",
        "https://editor.example/" + "a" * (MAX_REDIRECT_URI - 23),
    ],
)
def test_can_be_registered(uri: str) -> None:
    assert is_redirect_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/callback",
        "http://editor.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://user@127.0.0.1/callback",
        "https://user@editor.example/callback",
        "https://editor.example@evil.example/callback",
        "https://editor.example/callback#fragment",
        "https://Editor.example/callback",
        "HTTPS://editor.example/callback",
        "https://*.editor.example/callback",
        "https://editor.example/*",
        "https://editor.example/call back",
        "https://editor.example/\\evil",
        "https://editor.example/call\nback",
        'https://editor.example/"><script>',
        "javascript:/alert(1)",
        "data:/text/html,x",
        "file:/etc/passwd",
        "https:/editor.example",
        "cursor:callback",
        "https://editor.example/" + "a" * (MAX_REDIRECT_URI - 22),
    ],
)
def test_cannot_be_registered(uri: str) -> None:
    assert not is_redirect_uri(uri)


REGISTERED = [WEB_URI, LOOPBACK_URI, "http://localhost:3118/callback"]


@pytest.mark.parametrize(
    ("uri", "matches"),
    [
        (WEB_URI, True),
        (LOOPBACK_URI, True),
        ("http://127.0.0.1:1/callback", True),
        ("http://127.0.0.1:65535/callback", True),
        ("http://localhost:4000/callback", True),
        ("http://localhost/callback", True),
        ("http://[::1]:4000/callback", False),
        ("http://127.0.0.1:1/callback/", False),
        ("http://127.0.0.1:1/callback?a=b", False),
        ("http://127.0.0.1:1/Callback", False),
        ("http://127.0.0.1:1@evil.example/callback", False),
        ("http://127.0.0.1:1.evil.example/callback", False),
        ("http://127.0.0.1:/callback", False),
        ("https://127.0.0.1:1/callback", False),
        (f"{WEB_URI}/evil", False),
        (f"{WEB_URI}?evil", False),
        (f"{WEB_URI}#evil", False),
        ("https://editor.example:443/callback", False),
        ("https://EDITOR.example/callback", False),
        ("https://editor.example/%63allback", False),
        ("https://editor.example/a/../callback", False),
        ("https://evil.example@editor.example/callback", False),
        ("https://sub.editor.example/callback", False),
    ],
)
def test_is_compared_exactly_but_for_the_port_of_the_loopback(uri: str, matches: bool) -> None:
    assert is_registered(uri, REGISTERED) is matches


def test_a_loopback_within_another_address_is_compared_exactly() -> None:
    assert not is_registered(f"{WEB_URI}?next=http://127.0.0.1:1/", [f"{WEB_URI}?next=http://127.0.0.1/"])
