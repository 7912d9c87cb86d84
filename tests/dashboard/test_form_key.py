"""Forms that create something: each creates it once, and nothing that a browser sends becomes an id."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.audit.reading import read_chain
from agentidp.dashboard.form_key import LIFETIME, new_form_key
from agentidp.maintenance.erasure import delete_organization
from agentidp.services import Services
from tests.citus import server_of
from tests.conftest import Cast
from tests.dashboard.conftest import SAME_ORIGIN, Page, led_to, post, with_session
from tests.dashboard.test_forms import FORMS, filled_in
from tests.factories import IDS, NOON, Agent, Clock, make_one_of_each, wait_until
from tests.routes import PAGES

SHOWN_AT = {
    "/agents/new": "/agents/{created}",
    "/agents/{agent_id}/rotate": "/agents/{agent_id}",
    "/agents/{agent_id}/trust": "/agents/{agent_id}",
    "/alert-targets/new": "/alert-targets",
    "/delegation-rules/new": "/delegation-rules",
    "/markers/new": "/month?month=2026-04",
    "/provisioning-rules/new": "/provisioning-rules",
    "/resource-servers/new": "/resource-servers/{created}",
}
"""The page that shows the created object, by the address of the form."""


def created(agent: Agent) -> list[str]:
    """Return the ids of the created objects in the agent's organization, oldest first, from the audit trail."""
    events = read_chain(agent.database)
    return [event["subject"] for event in events if event["action"].endswith(".created")]


def remembered(services: Services, organization_id: str) -> list[Any]:
    """The ids that are remembered with the keys of an organization's forms, and until when."""
    with psycopg.connect(str(services.settings.database_url)) as connection:
        query = "select created_id::text, expires_at from used_identifiers where organization_id = %s"
        return connection.execute(query, [organization_id]).fetchall()


def test_these_are_all_forms_that_have_a_key(client: FlaskClient, acme: Agent) -> None:
    ids = make_one_of_each(client, acme)
    with_session(client, acme)
    paths = [route.path(**ids) for route in PAGES if route.method == "GET" and "<asset>" not in route.rule]
    shown = [path for path in paths if 'name="form_key"' in client.get(path, query_string="preset=other").text]
    assert sorted(shown) == sorted(f"/dashboard{path}".format(**ids) for path in SHOWN_AT)


@pytest.mark.parametrize("form", SHOWN_AT)
def test_creates_once_what_has_another_id_than_the_key_and_shows_it_the_second_time(
    client: FlaskClient, cast: Cast, clock: Clock, form: str
) -> None:
    acme, services, agent_id = with_session(client, cast.acme), cast.acme.services, cast.acme.client_id
    path = f"/dashboard{form}".format(agent_id=agent_id)
    right, [(_, wrong, _), *_] = FORMS[form]
    fields = filled_in(right, agent_id)
    if "resources" in right:
        IDS["resource_server_id"](client, cast.acme)
    ids_before = created(cast.acme)
    # The forms of rules of trust ask for a platform first.
    key, other = [Page(acme.get(path, query_string="preset=other")).typed["form_key"] for _ in range(2)]
    assert key != other
    # A form that is refused is shown again with its key, which it has not consumed.
    assert Page(post(acme, path, **(fields | wrong), form_key=key)).typed["form_key"] == key
    assert remembered(services, cast.acme.organization_id) == []
    first = post(acme, path, **fields, form_key=key)
    assert first.status_code in (200, 303)
    [created_id] = created(cast.acme)[len(ids_before) :]
    assert UUID(created_id).hex not in key
    assert remembered(services, cast.acme.organization_id) == [(created_id, NOON + LIFETIME)]
    # Whatever is in it, and as long as a key is valid, it is the form that was sent.
    clock.now = NOON + LIFETIME - timedelta(seconds=1)
    with_session(client, cast.acme)
    for repetition in (
        post(acme, path, **fields, form_key=key),
        post(acme, path, **(fields | {"name": "other"}), form_key=key),
    ):
        assert (repetition.status_code, "You have already submitted this form" in repetition.text) == (409, True)
        assert "aidp_" not in repetition.text
        assert "whsec_" not in repetition.text
        assert "/dashboard" + SHOWN_AT[form].format(agent_id=agent_id, created=created_id) in Page(repetition).links
    assert created(cast.acme) == [*ids_before, created_id]
    clock.now = NOON + LIFETIME
    with_session(client, cast.acme)
    late = post(acme, path, **fields, form_key=key)
    assert (late.status_code, "This form was opened more than 24 hours ago." in late.text) == (400, True)
    for bad in ("", "none", created_id, f"{key}0", f"99{key}", f"0.{'0' * 32}", f"9999999999.{'0' * 32}"):
        refused = post(acme, path, **fields, form_key=bad)
        assert (refused.status_code, "Open its page again." in refused.text) == (400, True), bad
    assert acme.post(path, headers=SAME_ORIGIN, data=fields).status_code == 400
    assert created(cast.acme) == [*ids_before, created_id]


def test_a_key_is_of_one_form_of_one_organization(client: FlaskClient, cast: Cast) -> None:
    key = new_form_key(NOON)
    for agent in (cast.acme, cast.outsider):
        signed_in, page = with_session(client, agent), f"/dashboard/agents/{agent.agent_id}"
        for path, status in (("/dashboard/agents/new", 303), (f"{page}/rotate", 200)):
            assert post(signed_in, path, name="once", form_key=key).status_code == status
            assert post(signed_in, path, name="twice", form_key=key).status_code == 409
    assert not {*created(cast.acme)} & {*created(cast.outsider)}


def test_what_was_deleted_is_not_created_again(client: FlaskClient, cast: Cast) -> None:
    acme, key, path = with_session(client, cast.acme), new_form_key(NOON), "/dashboard/agents/new"
    agent_path = led_to(post(acme, path, name="once", form_key=key))
    assert post(acme, f"{agent_path}/delete").status_code == 303
    ids_before = created(cast.acme)
    repetition = post(acme, path, name="once", form_key=key)
    assert (repetition.status_code, agent_path in Page(repetition).links) == (409, True)
    assert created(cast.acme) == ids_before


def test_of_two_at_once_one_creates_and_the_other_shows_what_was_created(shared_app: Flask, acme: Agent) -> None:
    agent, key = acme, new_form_key(NOON)
    path, ids_before = f"/dashboard/agents/{agent.agent_id}/rotate", created(acme)

    def send(_: int) -> tuple[int, str]:
        response = post(with_session(shared_app.test_client(), agent), path, form_key=key)
        return response.status_code, response.text

    url = server_of(agent.database_url, agent.organization_id)
    with (
        ThreadPoolExecutor(2) as threads,
        psycopg.connect(url) as holder,
        psycopg.connect(url, autocommit=True) as watcher,
    ):
        # One has consumed the key and waits for the agent, and the other one waits for the key.
        ids = [agent.organization_id, agent.agent_id]
        holder.execute("select from agents where organization_id = %s and agent_id = %s for update", ids)
        waiting = (
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        responses = threads.map(send, range(2))
        wait_until(lambda: watcher.execute(waiting).fetchall() == [(2,)])
        holder.rollback()
        (first, shown), (second, explained) = sorted(responses, key=lambda response: response[0])
    [created_id] = created(acme)[len(ids_before) :]
    assert (first, "aidp_" in shown) == (200, True)
    assert (second, f"The form created the credential {created_id}" in explained) == (409, True)


def test_no_organization_gets_an_agent_with_the_id_of_another_ones_organization_or_agent(
    client: FlaskClient, cast: Cast
) -> None:
    """Its ``sub`` would be one that another organization's cloud trusts: of its organization, or of an agent that was
    erased.
    """
    coveted = [UUID(cast.acme.organization_id.removeprefix("org-")), cast.acme.agent_id]
    delete_organization(cast.acme.database_url, cast.acme.organization_id, at=NOON)
    outsider = with_session(client, cast.outsider)
    for number, wanted in enumerate(coveted):
        assert post(outsider, "/dashboard/agents/new", name=f"{number}", form_key=str(wanted)).status_code == 400
        key = f"{int(NOON.timestamp())}.{wanted.hex}"
        assert post(outsider, "/dashboard/agents/new", name=f"{number}", form_key=key).status_code == 303
        fields: dict[str, Any] = {"name": f"by the API {number}", "agentId": str(wanted), "client_id": str(wanted)}
        response = outsider.post("/api/v1/agents", json=fields, headers=cast.outsider.bearer())
        assert (response.status_code, sorted(json.loads(response.text)["details"])) == (400, ["agentId", "client_id"])
    ids = {UUID(created_id.removeprefix("org-")) for created_id in created(cast.outsider)}
    assert len(ids) == 3 + 2  # the organization, its agent and that one's credential, and two by the form
    assert ids.isdisjoint(coveted)
