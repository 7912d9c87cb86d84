"""Every page declares who may open it, and neither shows nor does anything for others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.caller import Caller
from agentidp.dashboard.cross_origin import SAFE_METHODS
from agentidp.dashboard.form_key import new_form_key
from agentidp.dashboard.session import SCOPE
from agentidp.registry.agents import update_agent
from agentidp.scopes import SCOPES
from agentidp.services import Services
from tests.audit.conftest import events_of
from tests.conftest import Cast
from tests.dashboard.conftest import (
    ENDED,
    SAME_ORIGIN,
    Page,
    counted,
    is_deleted,
    refused,
    session_of,
    unchanged,
    with_cookie,
    with_session,
)
from tests.factories import NOON, Agent, Api, make_agent, make_one_of_each, make_organization, make_quotas
from tests.federation.issuer import trust
from tests.routes import PAGES, Route

IN_SESSION = [route for route in PAGES if route.authentication == "session"]
CHANGES = [route for route in IN_SESSION if route.method not in SAFE_METHODS]
WITH_SCOPES = [route for route in IN_SESSION if route.scopes]
OWN_SESSION = "POST /dashboard/sign-out"
TESTS_OF_TOKENS = {route for route in CHANGES if route.endpoint.endswith(("test_token", "test_agent_token"))}
"""They decode the token that is pasted, and change nothing."""

FORM = {
    "name": "ours",
    "type": "webhook",
    "url": "https://example.com/",
    "minimumSeverity": "warning",
    "tokens": "5",
    "window": "day",
    "issuer": "https://issuer.example",
    "subject": "system:serviceaccount:shop:*",
    "maxAgents": "100",
    "state": "on",
    "suspendDormantAfterDays": "120",
    "until": "2026-04-20",
    "token": "no token",
    "kind": "holiday",
    "startsAt": "2026-04-14",
    "clientId": "ours",
}
"""Values for the fields of all forms."""


def form_of(route: Route, agent_id: str = "") -> dict[str, str] | None:
    """A form that the route accepts, but for a token that it could test.

    :param agent_id: whose, if the form names an agent and its resource server (:data:`tests.factories.IDS`).
    """
    if route.method == "GET":
        return None
    form = FORM | {"form_key": new_form_key(NOON)}
    form |= {"agentIds": agent_id, "grantDays": "30", "resources": f"https://{agent_id}.example {agent_id}"}
    # A resource server's subject is one of two words, and another thing than a rule's.
    if route.rule.startswith("/dashboard/resource-servers"):
        form |= {"subject": "agent", "resource": f"https://{form['form_key'][-32:]}.example"}
    return form


def send(
    client: FlaskClient,
    route: Route,
    session: str | None,
    ids: dict[str, str],
    form: dict[str, str] | None = None,
    **headers: str,
) -> TestResponse:
    """Open the page as a browser with *session* in its cookie, or send its form."""
    client.delete_cookie("agentidp_session", path="/dashboard")
    if session:
        with_cookie(client, session)
    browser_headers = SAME_ORIGIN | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.open(
        route.path(**ids),
        method=route.method,
        headers=browser_headers,
        data=form or form_of(route, ids.get("agent_id", "")),
    )


@pytest.fixture(scope="module")
def ids(shared_app: Flask, shared_cast: Cast) -> dict[str, str]:
    """The ids of one object of Acme per kind. Refused requests change none of these objects."""
    return make_one_of_each(shared_app.test_client(), shared_cast.acme)


@pytest.fixture(scope="module")
def outsiders(shared_app: Flask, shared_cast: Cast) -> dict[str, str]:
    """The ids of one object per kind of another organization."""
    hidden = shared_cast.outsider.colleague("kept-from-others")
    return make_one_of_each(shared_app.test_client(), hidden)


def test_declares_what_it_needs() -> None:
    assert {scope for route in WITH_SCOPES for scope in route.scopes} <= set(SCOPES)
    without = [route for route in CHANGES if not route.scopes or not all(s.endswith(":write") for s in route.scopes)]
    assert {str(route) for route in without} == {OWN_SESSION, *map(str, TESTS_OF_TOKENS)}
    # What may be read with either of two scopes is read with the scope to read first.
    assert {route.scopes for route in IN_SESSION if len(route.scopes) > 1} == {("agents:read", "agents:write")}


@pytest.mark.parametrize("route", IN_SESSION, ids=str)
def test_needs_a_session(client: FlaskClient, shared_cast: Cast, ids: dict[str, str], route: Route) -> None:
    acme = shared_cast.acme
    with unchanged(acme):
        response = send(client, route, None, ids, **acme.bearer())
        refused(response, 401, "Sign in to see your organization.")
        assert response.headers["Cache-Control"] == "no-store"
        # The browser may have a session all the same: SameSite keeps it back where another site's link led here.
        assert "Set-Cookie" not in response.headers
        response = send(client, route, session_of(acme, ttl=-60), ids)
        refused(response, 401, ENDED)
        assert is_deleted(response)


@pytest.mark.parametrize("route", CHANGES, ids=str)
def test_does_nothing_for_the_page_of_another_site(
    client: FlaskClient, shared_cast: Cast, ids: dict[str, str], route: Route
) -> None:
    acme = shared_cast.acme
    with unchanged(acme):
        response = send(client, route, session_of(acme), ids, Sec_Fetch_Site="cross-site")
    assert (response.status_code, "so nothing was done" in response.text) == (403, True)
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("route", [route for route in IN_SESSION if route.method == "GET"], ids=str)
def test_head_changes_nothing(client: FlaskClient, shared_cast: Cast, ids: dict[str, str], route: Route) -> None:
    """A view that handles several methods must act only on POST, because Flask passes HEAD to the view, too."""
    acme = shared_cast.acme
    form = form_of(replace(route, method="POST"), ids.get("agent_id", ""))
    with unchanged(acme):
        assert send(client, replace(route, method="HEAD"), session_of(acme), ids, form).status_code == 200


@pytest.mark.parametrize("route", WITH_SCOPES, ids=str)
def test_needs_its_scope(client: FlaskClient, shared_cast: Cast, ids: dict[str, str], route: Route) -> None:
    acme = shared_cast.acme
    other_scopes = set(SCOPES) - set(route.scopes)
    lacking = acme.colleague(f"lacks the scope of {route}"[-100:], other_scopes)
    # A pasted token for the API has its own scopes, which may be fewer than its agent's.
    pasted = acme.token(scope=" ".join(other_scopes))
    with unchanged(acme):
        for session in (session_of(lacking), pasted):
            response = send(client, route, session, ids)
            assert response.status_code == 403
            assert f"without the scope {route.scopes[0]}, which this needs" in response.text


@pytest.mark.parametrize("route", [r for r in CHANGES if r.scopes and r not in TESTS_OF_TOKENS], ids=str)
def test_looks_again_for_its_scope_in_the_transaction_that_changes_something(
    client: FlaskClient, acme: Agent, monkeypatch: pytest.MonkeyPatch, route: Route
) -> None:
    """The agent loses the scope between the first check and the transaction."""
    agent = acme.colleague("loses a scope")
    whole = Caller.transaction
    object_ids = make_one_of_each(client, acme)
    events: list[Any] = []

    def late(caller: Caller) -> object:
        with agent.database.transaction() as opened:
            update_agent(opened, agent.agent_id, {"scopes": sorted(set(SCOPES) - set(route.scopes))})
        events.extend(events_of(agent.database_url, agent.organization_id))
        return whole(caller)

    monkeypatch.setattr(Caller, "transaction", late)
    assert send(client, route, session_of(agent), object_ids).status_code == 403
    assert events_of(agent.database_url, agent.organization_id) == events


@pytest.mark.parametrize("route", CHANGES, ids=str)
def test_is_changed_with_its_scope_and_counts_no_request(client: FlaskClient, services: Services, route: Route) -> None:
    owner = make_agent(services, make_organization(services))
    ids = make_one_of_each(client, owner)
    # If a route accepts two scopes, the second one is enough.
    agent = owner.colleague("changes", {SCOPE, *route.scopes[-1:]})
    counts_before = counted(agent)
    response = send(client, route, session_of(agent), ids)
    expected = {200, 303} if route not in TESTS_OF_TOKENS else {400}
    assert response.status_code in expected, response.text
    assert response.headers["Cache-Control"] == "no-store"
    assert counted(agent) == counts_before


@pytest.mark.parametrize("route", IN_SESSION, ids=str)
def test_reaches_nothing_of_another_organization(
    client: FlaskClient, shared_cast: Cast, outsiders: dict[str, str], ids: dict[str, str], route: Route
) -> None:
    del ids  # Acme has quotas of the same windows.
    session = session_of(shared_cast.acme)
    with unchanged(shared_cast.outsider):
        response = send(client, route, session, outsiders)
        names_theirs = route in TESTS_OF_TOKENS or str(route) == "POST /dashboard/delegation-rules/new"
        expected = {404} if route.ids else {400} if names_theirs else {200, 303}
        assert response.status_code in expected
        assert "kept-from-others" not in response.text
        assert "Outsider" not in response.text
        if route.ids:
            # Nor does the response to a form that is wrong say that there is such a thing.
            wrong = {"name": "a\0", "note": "a\0", "tokens": "x", "form_key": new_form_key(NOON)}
            theirs, nobodys = [send(client, route, session, arguments, wrong) for arguments in (outsiders, {})]
            assert (theirs.status_code, theirs.text) == (nobodys.status_code, nobodys.text)


def offered(page: Page) -> set[tuple[str, str]]:
    """Where the links and the buttons of a page lead: method and address."""
    buttons = {(str(form["method"]).upper(), str(form["action"])) for form in page.all("form")}
    return {("GET", link) for link in page.links} | buttons


@pytest.fixture(scope="module")
def furnished(shared_app: Flask, shared_cast: Cast, ids: dict[str, str]) -> dict[str, str]:
    """The same ids; Acme's agent has an owner, a rule of trust and tokens of yesterday as well, which pages name, and
    Acme the quotas that another test has removed.
    """
    acme = shared_cast.acme
    make_quotas(acme)
    Api(shared_app.test_client(), acme).patch(f"agents/{acme.agent_id}", {"owner": "Legal"})
    trust(acme, issuer="https://issuer.example", subject="job:7")
    acme.count(NOON - timedelta(days=1), tokens=30)
    return ids


@pytest.mark.parametrize("scope", sorted({SCOPE, *(scope for route in WITH_SCOPES for scope in route.scopes)}))
def test_is_there_and_leads_to_all_that_the_session_may_do_and_to_nothing_else_and_counts_no_request(
    client: FlaskClient, shared_app: Flask, shared_cast: Cast, furnished: dict[str, str], scope: str
) -> None:
    acme, visited = shared_cast.acme, set()
    with_session(client, acme.colleague(f"has {scope}", {SCOPE, scope}))
    counts_before = counted(acme)
    allowed = {route for route in IN_SESSION if not route.scopes or scope in route.scopes}
    open_addresses = [route.path(**furnished) for route in allowed if route.method == "GET"]
    while open_addresses:
        response = client.get(open_addresses.pop(0))
        assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store"), response.request.path
        for method, address in offered(Page(response)) if response.mimetype == "text/html" else ():
            path, _, query = address.partition("#")[0].partition("?")
            if path.startswith("/dashboard"):
                endpoint, arguments = shared_app.url_map.bind("").match(path, method)
                way = (method, endpoint, arguments.get("action"), "preset=other" in query)
                open_addresses += [address] if method == "GET" and way not in visited else []
                visited.add(way)
    assert counted(acme) == counts_before
    ways = {way[:2] for way in visited}
    reached = {str(route) for route in IN_SESSION if (route.method, route.endpoint) in ways}
    assert reached == {*map(str, allowed)}
