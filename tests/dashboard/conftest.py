"""A browser's part without a browser: forms as it sends them, pages as it reads them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.dashboard.form_key import new_form_key
from agentidp.db.errors import DatabaseUnavailable
from agentidp.services import Services
from tests.audit.conftest import events_of
from tests.conftest import Cast, make_cast
from tests.dashboard.company import Company, company
from tests.factories import NOON, Agent, Clock

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
ENDED = "Your session has ended. Sign in again."
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """The content of a page. ``elements`` are (tag, attributes) in order; ``text`` is the whole text, ``notice`` the
    text with the role ``alert``. ``typed`` has the value per form field: a text, or the values of the checked boxes.
    """

    def __init__(self, response: TestResponse) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.typed: dict[str, Any] = {}
        self.text = self.notice = ""
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = self._field = ""
        assert response.mimetype == "text/html"
        self.feed(response.text)
        self.close()
        assert self._open == [], "every element is closed"
        self.notice = self.notice.strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag if ("role", "alert") not in attrs else f"{tag} alert")
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "input" and attributes.get("type") == "checkbox":
            name = attributes["name"] or ""
            checked_values = self.typed[name] if isinstance(self.typed.get(name), list) else []
            self.typed[name] = checked_values + ([attributes.get("value", "on")] if "checked" in attributes else [])
        elif tag in ("input", "select", "textarea"):
            self._field = attributes.get("name") or ""
            self.typed[self._field] = attributes.get("value", "")
        elif tag == "option" and "selected" in attributes:
            self.typed[self._field] = attributes.get("value")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop().split()[0] == tag, f"</{tag}> closes what is open"
        if tag == "table":
            self.tables[self._caption.split(",")[0]] = self._rows

    def handle_data(self, data: str) -> None:
        self.text += data
        if "p alert" in self._open:
            self.notice += data
        if "textarea" in self._open:
            # HTML ignores a line break at the beginning of a textarea.
            self.typed[self._field] = data.removeprefix("\n")
        elif "option" in self._open and self.typed[self._field] is None:
            self.typed[self._field] = data
        if "caption" in self._open:
            self._caption += data
        elif "table" in self._open and ("td" in self._open or "th" in self._open):
            self._rows[-1][-1] += data

    @property
    def words(self) -> str:
        """The whole text, with single blanks between words."""
        return " ".join(self.text.split())

    @property
    def links(self) -> list[str]:
        """The addresses of the links."""
        return [str(link["href"]) for link in self.all("a")]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of each element *tag*."""
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, caption: str) -> list[list[str]]:
        """Return the cells of the body of the table whose caption begins with *caption*, with single blanks."""
        [rows] = [rows for name, rows in self.tables.items() if name.startswith(caption)]
        return [[" ".join(cell.split()) for cell in row] for row in rows[1:]]


def post(client: FlaskClient, path: str, **form: Any) -> TestResponse:
    """Send a form as our pages do. The key of a form that creates something is from noon."""
    return client.post(path, headers=SAME_ORIGIN, data={"form_key": new_form_key(NOON)} | form)


def led_to(response: TestResponse) -> str:
    """Return the address to which the browser is redirected after a form was accepted."""
    assert response.status_code == 303, response.text
    return response.headers["Location"]


def refusal(response: TestResponse) -> tuple[int, str]:
    """Return the status of the response to a refused form, and the reason on the page."""
    return response.status_code, Page(response).notice


def number(text: str) -> int:
    """Return the number in a text such as ``1,234``."""
    return int(text.replace(",", ""))


def sign_in(client: FlaskClient, agent: Agent, **form: str) -> TestResponse:
    """Send the sign-in form, by default with the agent's credential."""
    form = form or {"client_id": agent.client_id, "client_secret": agent.client_secret}
    return client.post("/dashboard/sign-in", data=form, headers=SAME_ORIGIN)


def cookie(response: TestResponse) -> Morsel[str]:
    """Return the only cookie that a response sets."""
    [header] = response.headers.getlist("Set-Cookie")
    [session_cookie] = SimpleCookie(header).values()
    return session_cookie


def is_deleted(response: TestResponse) -> bool:
    """Return whether a response deletes the session cookie."""
    morsel = cookie(response)
    return (morsel.key, morsel.value, morsel["max-age"], morsel["path"]) == ("agentidp_session", "", "0", "/dashboard")


def counted(agent: Agent) -> tuple[int, int, int]:
    """Return the tokens, requests and rejections of an agent's organization. Fail unless all counters agree."""
    sums = agent.sums()
    count_sets = [{n for name, n in sums.items() if kind in name} for kind in ("tokens", "requests", "rejected")]
    [[tokens], [requests], [rejected]] = count_sets
    return tokens, requests, rejected


@contextlib.contextmanager
def unchanged(agent: Agent) -> Iterator[None]:
    """Fail if something is changed or counted in the agent's organization during the ``with`` block."""
    url = agent.database_url
    old_state = events_of(url, agent.organization_id), counted(agent)
    yield
    assert (events_of(url, agent.organization_id), counted(agent)) == old_state


def refused(response: TestResponse, status: int, notice: str) -> None:
    """Fail unless the response is the sign-in page with a sentence, and sets no session cookie."""
    assert response.status_code == status
    page = Page(response)
    actions = [str(form["action"]).partition("?")[0] for form in page.all("form") if form["method"] == "post"]
    assert actions == ["/dashboard/sign-in"] * 2
    assert page.notice == notice
    cookies = [header for header in response.headers.getlist("Set-Cookie") if header.startswith("agentidp_session")]
    assert all(header.startswith("agentidp_session=;") for header in cookies)
    if status == 401:
        assert response.headers["WWW-Authenticate"] == 'Cookie realm="agentidp"'


def revoke(client: FlaskClient, agent: Agent, token: str) -> None:
    """Revoke a token as the agent, at the revocation endpoint."""
    form = {"client_id": agent.client_id, "client_secret": agent.client_secret, "token": token}
    assert client.post("/api/v1/token/revoke", data=form).status_code == 200


def unavailable(*_: object, **__: object) -> None:
    """Replace a function that reads the database, as if the database did not respond."""
    raise DatabaseUnavailable


@pytest.fixture
def services(shared_app: Flask) -> Iterator[Services]:
    """The services of the shared application. After the test, the clock shows noon again."""
    app_services: Services = shared_app.extensions["agentidp"]
    yield app_services
    app_services.clock.now = NOON  # type: ignore[attr-defined]


@pytest.fixture
def clock(services: Services) -> Clock:
    """The clock of the shared application."""
    app_clock: Clock = services.clock  # type: ignore[assignment]
    return app_clock


@pytest.fixture
def client(shared_app: Flask) -> FlaskClient:
    """A client of the shared application, without a cookie."""
    return shared_app.test_client()


Wire = Callable[..., FlaskClient]


@pytest.fixture
def wire(services: Services, clock: Clock) -> Iterator[Wire]:
    """A function that creates another application with changed settings on the same database, and returns a client."""
    with contextlib.ExitStack() as stack:

        def wired(**changes: Any) -> FlaskClient:
            app = create_app(dataclasses.replace(services.settings, **changes), clock=clock)
            stack.enter_context(contextlib.closing(app.extensions["agentidp"]))
            return app.test_client()

        yield wired


@pytest.fixture
def cast(services: Services) -> Cast:
    """Two new organizations for each test."""
    return make_cast(services)


@pytest.fixture
def acme(cast: Cast) -> Agent:
    """The agent of Acme, which has every scope."""
    return cast.acme


@pytest.fixture
def worker(acme: Agent) -> Agent:
    """Another agent of Acme, which may read analytics only."""
    return acme.colleague("worker", ["analytics:read"])


@pytest.fixture
def signed_in(client: FlaskClient, cast: Cast) -> FlaskClient:
    """A client with a session of Acme's agent. The session's token was not counted."""
    return with_session(client, cast.acme)


def with_session(client: FlaskClient, agent: Agent, **changes: Any) -> FlaskClient:
    """Return *client* with the cookie of a session of an agent, without a sign-in."""
    return with_cookie(client, session_of(agent, **changes))


def store_cookies(cookies: dict[str, str], response: TestResponse) -> None:
    """Store and delete the cookies that a response sets, as a browser does, in their order of creation."""
    for header in response.headers.getlist("Set-Cookie"):
        for name, morsel in SimpleCookie(header).items():
            if morsel["max-age"] == "0":
                cookies.pop(name, None)
            else:
                cookies[name] = morsel.value


def cookie_header(cookies: dict[str, str]) -> dict[str, str]:
    """Return the header with which a browser sends its cookies."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


def with_cookie(client: FlaskClient, session: str) -> FlaskClient:
    """Return *client* with the cookie of a session."""
    client.set_cookie("agentidp_session", session, path="/dashboard")
    return client


def session_of(agent: Agent, **changes: Any) -> str:
    """Return a token that is a session of an agent."""
    arguments: dict[str, Any] = {
        "audience": f"{agent.services.settings.issuer}/dashboard",
        "scope": "analytics:read",
        "ttl": 12 * 60 * 60,
    }
    return agent.token(**(arguments | changes))


Read = Callable[[str], Page]


@pytest.fixture
def read(signed_in: FlaskClient) -> Read:
    """A function that opens a page as Acme's agent, and fails unless the page exists."""

    def opened(path: str = "") -> Page:
        response = signed_in.get(f"/dashboard{path}")
        assert response.status_code == 200, response.text
        return Page(response)

    return opened


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Company]:
    """The OpenID provider at which the people of a company sign in."""
    with company() as running:
        yield running


@pytest.fixture
def provider(running_provider: Company) -> Company:
    """The running provider, whose responses are correct again."""
    running_provider.reset()
    return running_provider
