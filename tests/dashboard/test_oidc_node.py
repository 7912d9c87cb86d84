"""People sign in at node-oidc-provider, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from agentidp import create_app
from agentidp.config.oidc import OidcSettings
from agentidp.dashboard.oidc_sign_in import PATH
from agentidp.services import Services
from tests.conftest import _fresh_database, settings_for
from tests.dashboard.conftest import SAME_ORIGIN, Page
from tests.dashboard.node_provider import node_provider
from tests.dashboard.test_oidc import counted, events
from tests.factories import PATIENCE, Agent, Clock, free_port, make_agent, make_organization

pytestmark = pytest.mark.node

ORGANIZATION_ID = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
ACCOUNTS: dict[str, Any] = {
    "anna": {"name": "Anna Berg", "organization": ORGANIZATION_ID, "roles": ["keepers"]},
    "ben": {"name": "Ben Crane", "organization": ORGANIZATION_ID, "roles": "watchers", "userinfo": True},
    "eve": {"name": "Eve Dunn", "organization": ORGANIZATION_ID, "roles": ["visitors"]},
}


@pytest.fixture(scope="module")
def oidc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcSettings]:
    """The running provider."""
    directory = tmp_path_factory.mktemp("oidc-provider")
    with node_provider(directory, free_port(), "http://localhost:3000/dashboard", ACCOUNTS) as settings:
        yield settings


@pytest.fixture
def shared_app(postgres_url: str, template: str, oidc: OidcSettings) -> Iterator[Flask]:
    """The application. The provider's clock is real, so ours is as well."""
    with contextmanager(_fresh_database)(postgres_url, template) as url:
        app = create_app(settings_for(url, oidc=oidc), clock=Clock(None))
        yield app
        app.extensions["agentidp"].close()


def make_acme(services: Services) -> Agent:
    """An agent of the organization of the accounts."""
    return make_agent(services, make_organization(services, "Acme", ORGANIZATION_ID))


def at_provider(browser: requests.Session, address: str, **form: str) -> str:
    """Follow *address* at the provider, or send a form to it: the path at the dashboard to which it leads, or the
    address of the page that is shown.
    """
    response = browser.request("POST" if form else "GET", address, data=form, allow_redirects=False, timeout=PATIENCE)
    while response.is_redirect:
        address = urljoin(address, response.headers["Location"])
        if urlsplit(address).port == 3000:
            return address.removeprefix("http://localhost:3000")
        response = browser.get(address, allow_redirects=False, timeout=PATIENCE)
    assert response.status_code == 200, unescape(response.text)
    return address


def sign_in(client: FlaskClient, browser: requests.Session, account: str) -> str:
    """Sign in at the provider: the path of the callback."""
    page = at_provider(browser, client.get(PATH).headers["Location"])
    page = at_provider(browser, page, prompt="login", login=account, password="any")
    return at_provider(browser, page, prompt="consent")


def test_signs_in_and_out(client: FlaskClient, oidc: OidcSettings, services: Services) -> None:
    acme = make_acme(services)
    with requests.Session() as browser:
        assert client.get(sign_in(client, browser, "anna")).status_code == 200
        assert "Anna Berg (administrator)" in Page(client.get("/dashboard?days=7")).text
        # The provider knows her now, and asks nothing.
        path = at_provider(browser, client.get(PATH).headers["Location"])
        assert client.get(path).status_code == 200
        response = client.post("/dashboard/sign-out", headers=SAME_ORIGIN)
        [address] = [
            str(meta["content"]).partition("url=")[2]
            for meta in Page(response).all("meta")
            if meta.get("http-equiv") == "refresh"
        ]
        shown = browser.get(address, timeout=PATIENCE)
        assert (shown.status_code, urlsplit(shown.url).path) == (200, "/session/end")
        assert "Do you want to sign-out" in shown.text
    assert client.get("/dashboard").status_code == 401
    actor = f"anna at {oidc.issuer} (Anna Berg)"
    assert [(action, who) for action, _, who, _ in events(acme)] == [
        ("person.signed_in", actor),
        ("person.signed_in", actor),
        ("person.signed_out", actor),
    ]
    assert counted(acme) == {0}


def test_reads_the_claims_at_the_userinfo_endpoint(client: FlaskClient, services: Services) -> None:
    make_acme(services)
    with requests.Session() as browser:
        assert client.get(sign_in(client, browser, "ben")).status_code == 200
    assert "Ben Crane (viewer)" in Page(client.get("/dashboard?days=7")).text


def test_who_has_no_role_or_does_not_consent_is_refused(client: FlaskClient, services: Services) -> None:
    make_acme(services)
    with requests.Session() as browser:
        response = client.get(sign_in(client, browser, "eve"))
        assert (response.status_code, client.get("/dashboard").status_code) == (403, 401)
    with requests.Session() as browser:
        page = at_provider(browser, client.get(PATH).headers["Location"])
        path = at_provider(browser, f"{page}/abort")
        assert "error=access_denied" in path
        response = client.get(path)
        assert (response.status_code, Page(response).notice.partition(".")[0]) == (
            403,
            "Your company did not sign you in",
        )


def test_a_code_is_accepted_once_by_the_provider_as_well(client: FlaskClient, services: Services) -> None:
    make_acme(services)
    with requests.Session() as browser:
        path = sign_in(client, browser, "anna")
        flow = client.get_cookie("agentidp_sign_in", path=PATH)
        assert flow is not None
        assert client.get(path).status_code == 200
        # Even with the cookie of before, as if it had been copied.
        client.set_cookie("agentidp_sign_in", flow.value, path=PATH)
        assert client.get(path).status_code == 403
