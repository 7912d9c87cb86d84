"""A person lets an app act in a browser: from the app to the provider, the consent page, and back to the app."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from agentidp.registry.openid_providers import NewOpenidProviderSchema, add_provider, remove_provider
from tests.authorization.conftest import CHALLENGE
from tests.authorization.test_mcp_sdk import Running, running
from tests.browser.conftest import MILLISECONDS, WITH_AND_WITHOUT_JAVASCRIPT
from tests.dashboard.company import CLIENT_ID, CLIENT_SECRET
from tests.dashboard.conftest import running_provider
from tests.factories import PATIENCE, database_of

__all__ = ["running", "running_provider"]


@pytest.fixture(scope="module")
def places(running: Running) -> Iterator[str]:
    """The address of a server with the provider's page, which signs Anna in at once, and with the app's page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/authorize":
                self.send_response(302)
                back = running.company.authorize(f"{running.company.issuer}/authorize?{url.query}")
                self.send_header("Location", running.url + back)
                self.end_headers()
                return
            if url.path == "/callback":
                # Apps redirect the browser to a page of their makers.
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{server.server_port}/back?{url.query}")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<h1>Back in the app</h1>")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    running.company.metadata["authorization_endpoint"] = f"{address}/authorize"
    yield address
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


def query_of(running: Running, places: str) -> str:
    """The authorization request of the app, which listens at a port that is free at the moment."""
    return urlencode(
        {
            "response_type": "code",
            "client_id": running.agent.client_id,
            "redirect_uri": f"{places}/callback",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": running.mcp.url,
            "state": "the state",
        }
    )


@WITH_AND_WITHOUT_JAVASCRIPT
@pytest.mark.parametrize(("button", "member"), [("Allow", "code"), ("Do not allow", "error")])
def test_a_person_answers(
    browser: Browser, running: Running, places: str, button: str, member: str, java_script_enabled: bool
) -> None:
    context = browser.new_context(java_script_enabled=java_script_enabled)
    context.set_default_timeout(MILLISECONDS)
    problems: list[str] = []
    try:
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.goto(f"{running.url}/authorize?{query_of(running, places)}")
        expect(page.get_by_role("heading", level=1)).to_contain_text("act for you?")
        expect(page.locator("main")).to_contain_text("a program on this computer")
        box = page.get_by_role("button", name=button, exact=True).bounding_box()
        assert box is not None
        # A click as soon as the pointer enters the page was meant for a window that was above this one.
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_role("heading", name="Back in the app")).to_be_visible()
        returned = parse_qs(urlsplit(page.url).query)
        assert (member in returned, returned["state"], returned["iss"]) == (True, ["the state"], [running.url])
        # No cache has stored the page, so nobody can go back and answer again.
        page.go_back()
        expect(page.locator("main")).to_contain_text("This sign-in has expired")
        assert [line for line in problems if "favicon" not in line and "400" not in line] == []
    finally:
        context.close()


def test_a_person_follows_the_link_to_the_own_provider_of_the_organization(
    browser: Browser, running: Running, places: str
) -> None:
    services, organization_id = running.agent.services, running.agent.organization_id
    body = {"issuer": running.company.issuer, "clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET}
    with database_of(services, organization_id).transaction() as opened:
        provider = add_provider(opened, services.settings, **NewOpenidProviderSchema().load(body | {"viewers": ["*"]}))
    context = browser.new_context()
    context.set_default_timeout(MILLISECONDS)
    try:
        page = context.new_page()
        page.goto(f"{running.url}/authorize?{query_of(running, places)}")
        host = urlsplit(places).netloc
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Sign in at {host}")
        page.get_by_role("link", name=f"Go to {host}").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("act for you?")
        page.get_by_role("button", name="Allow", exact=True).click()
        expect(page.get_by_role("heading", name="Back in the app")).to_be_visible()
        assert "code" in parse_qs(urlsplit(page.url).query)
        page.goto(f"{running.url}/dashboard/sign-in")
        page.get_by_label("Organization ID").fill(organization_id)
        page.get_by_role("button", name="Go to the sign-in").click()
        page.get_by_role("link", name=f"Go to {host}").click()
        page.wait_for_url(f"{running.url}/dashboard")
        expect(page.locator("body")).to_contain_text("Anna Berg (viewer)")
    finally:
        context.close()
        with database_of(services, organization_id).transaction() as opened:
            remove_provider(opened, provider.openid_provider_id)
