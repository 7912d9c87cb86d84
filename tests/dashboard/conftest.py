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
    """What a page shows. ``elements`` are (tag, attributes) in their order; ``text`` is all text in it, ``notice``
    what it alerts to. ``typed`` is what is in its fields, by their names: text, or the values of the checked boxes.
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
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag not in VOID:
            self._open.append(tag if ("role", "alert") not in attrs else f"{tag} alert")
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "input" and found.get("type") == "checkbox":
            name = found["name"] or ""
            checked_values = self.typed[name] if isinstance(self.typed.get(name), list) else []
            self.typed[name] = checked_values + ([found.get("value", "on")] if "checked" in found else [])
        elif tag in ("input", "select", "textarea"):
            self._field = found.get("name") or ""
            self.typed[self._field] = found.get("value", "")
        elif tag == "option" and "selected" in found:
            self.typed[self._field] = found.get("value")

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
            # A first line break is none.
            self.typed[self._field] = data.removeprefix("\n")
        elif "option" in self._open and self.typed[self._field] is None:
            self.typed[self._field] = data
        if "caption" in self._open:
            self._caption += data
        elif "table" in self._open and ("td" in self._open or "th" in self._open):
            self._rows[-1][-1] += data

    @property
    def words(self) -> str:
        """All text, with single blanks."""
        return " ".join(self.text.split())

    @property
    def links(self) -> list[str]:
        """Where it leads."""
        return [str(link["href"]) for link in self.all("a")]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each *tag*."""
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, caption: str) -> list[list[str]]:
        """The cells of the body of the table whose caption begins so, each with single blanks."""
        [rows] = [rows for name, rows in self.tables.items() if name.startswith(caption)]
        return [[" ".join(cell.split()) for cell in row] for row in rows[1:]]


def post(client: FlaskClient, path: str, **form: Any) -> TestResponse:
    """As a page of ours does. If the form creates something, it was opened at noon."""
    return client.post(path, headers=SAME_ORIGIN, data={"form_key": new_form_key(NOON)} | form)


def led_to(response: TestResponse) -> str:
    """The page that a browser is led to after its form was accepted."""
    assert response.status_code == 303, response.text
    return response.headers["Location"]


def refusal(response: TestResponse) -> tuple[int, str]:
    """The status of a form that was refused, and why it was."""
    return response.status_code, Page(response).notice


def number(text: str) -> int:
    """``1,234`` -> 1234."""
    return int(text.replace(",", ""))


def sign_in(client: FlaskClient, agent: Agent, **form: str) -> TestResponse:
    """Send the sign-in form, with the agent's credential unless told otherwise."""
    form = form or {"client_id": agent.client_id, "client_secret": agent.client_secret}
    return client.post("/dashboard/sign-in", data=form, headers=SAME_ORIGIN)


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
    sums = agent.sums()
    found = [{n for name, n in sums.items() if kind in name} for kind in ("tokens", "requests", "rejected")]
    [[tokens], [requests], [rejected]] = found
    return tokens, requests, rejected


@contextlib.contextmanager
def unchanged(agent: Agent) -> Iterator[None]:
    """Nothing is changed or counted in the organization of an agent meanwhile."""
    url = agent.database_url
    before = events_of(url, agent.organization_id), counted(agent)
    yield
    assert (events_of(url, agent.organization_id), counted(agent)) == before


def refused(response: TestResponse, status: int, notice: str) -> None:
    """The sign-in page, with a sentence and without a session."""
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
    """As the agent, at the revocation endpoint."""
    form = {"client_id": agent.client_id, "client_secret": agent.client_secret, "token": token}
    assert client.post("/api/v1/token/revoke", data=form).status_code == 200


def unavailable(*_: object, **__: object) -> None:
    """In place of a database that does not answer."""
    raise DatabaseUnavailable


@pytest.fixture
def services(shared_app: Flask) -> Iterator[Services]:
    """Of the application that the tests of a module share; the clock stands at noon again afterwards."""
    found: Services = shared_app.extensions["agentidp"]
    yield found
    found.clock.now = NOON  # type: ignore[attr-defined]


@pytest.fixture
def clock(services: Services) -> Clock:
    """Of the same."""
    found: Clock = services.clock  # type: ignore[assignment]
    return found


@pytest.fixture
def client(shared_app: Flask) -> FlaskClient:
    """Of the same, without a cookie."""
    return shared_app.test_client()


Wire = Callable[..., FlaskClient]


@pytest.fixture
def wire(services: Services, clock: Clock) -> Iterator[Wire]:
    """Wires another application with changed settings on the same database, and returns a client of it."""
    with contextlib.ExitStack() as stack:

        def wired(**changes: Any) -> FlaskClient:
            app = create_app(dataclasses.replace(services.settings, **changes), clock=clock)
            stack.enter_context(contextlib.closing(app.extensions["agentidp"]))
            return app.test_client()

        yield wired


@pytest.fixture
def cast(services: Services) -> Cast:
    """Two organizations of each test's own."""
    return make_cast(services)


@pytest.fixture
def acme(cast: Cast) -> Agent:
    """An agent of Acme's with every scope."""
    return cast.acme


@pytest.fixture
def worker(acme: Agent) -> Agent:
    """Another agent of Acme, which may read analytics only."""
    return acme.colleague("worker", ["analytics:read"])


@pytest.fixture
def signed_in(client: FlaskClient, cast: Cast) -> FlaskClient:
    """A client with a session of Acme's that was not counted."""
    return with_session(client, cast.acme)


def with_session(client: FlaskClient, agent: Agent, **changes: Any) -> FlaskClient:
    """*client* with a session in its cookie, made by nobody's signing in."""
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
    """The header with which a browser sends its cookies."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


def with_cookie(client: FlaskClient, session: str) -> FlaskClient:
    """*client* with this session in its cookie."""
    client.set_cookie("agentidp_session", session, path="/dashboard")
    return client


def session_of(agent: Agent, **changes: Any) -> str:
    """A token that is a session."""
    arguments: dict[str, Any] = {
        "audience": f"{agent.services.settings.issuer}/dashboard",
        "scope": "analytics:read",
        "ttl": 12 * 60 * 60,
    }
    return agent.token(**(arguments | changes))


Read = Callable[[str], Page]


@pytest.fixture
def read(signed_in: FlaskClient) -> Read:
    """Opens a page as Acme; it must be there."""

    def opened(path: str = "") -> Page:
        response = signed_in.get(f"/dashboard{path}")
        assert response.status_code == 200, response.text
        return Page(response)

    return opened


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Company]:
    """The provider by which people of a company sign in."""
    with company() as running:
        yield running


@pytest.fixture
def provider(running_provider: Company) -> Company:
    """The same, saying nothing wrong."""
    running_provider.reset()
    return running_provider
