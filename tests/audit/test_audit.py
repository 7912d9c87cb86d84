"""Events are written in the transaction of the change, form a chain, and cannot be changed by the service."""

from __future__ import annotations

import os
import pwd
import re
import threading

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp import audit
from agentidp.actor import SYSTEM, Actor, find_operator
from agentidp.db.database import SERVICE_ROLE
from agentidp.registry.agents import add_agent, update_agent
from agentidp.services import Services
from tests.audit.conftest import events_of, verified
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NEW_AGENT, NOON, ROOT, database_of, execute

HASH = re.compile(r"[0-9a-f]{64}")


class TestAnEvent:
    @ON_CITUS_TOO
    def test_says_who_did_what_from_where(self, client: FlaskClient, cast: Cast, database_url: str) -> None:
        acme = cast.acme
        headers = acme.bearer() | {"X-Request-Id": "request-of-a-test"}
        address = {"REMOTE_ADDR": "192.0.2.7"}
        response = client.post("/api/v1/agents", json={"name": "new"}, headers=headers, environ_base=address)
        assert response.status_code == 201
        *_, previous, event = events_of(database_url, acme.organization_id)
        changing = {name: event.pop(name) for name in ("eventId", "salt", "contentHash", "hash")}
        assert event == {
            "organizationId": acme.organization_id,
            "sequence": 4,
            "at": "2026-04-15T12:00:00.000000Z",
            "actorType": "agent",
            "actor": acme.client_id,
            "action": "agent.created",
            "subjectType": "agent",
            "subject": response.json["agentId"],
            "before": None,
            "after": NEW_AGENT | {"name": "new"},
            "clientAddress": "192.0.2.7",
            "requestId": "request-of-a-test",
            "previousHash": previous["hash"],
        }
        assert HASH.fullmatch(changing["hash"])
        assert HASH.fullmatch(changing["contentHash"])
        assert verified(database_url, acme.organization_id).broken_at is None

    def test_is_not_there_if_nothing_changed(self, client: FlaskClient, cast: Cast, database_url: str) -> None:
        events = events_of(database_url, cast.acme.organization_id)
        path = f"/api/v1/agents/{cast.acme.agent_id}"
        response = client.patch(path, json={"status": "active"}, headers=cast.acme.bearer())
        assert response.status_code == 200
        assert events_of(database_url, cast.acme.organization_id) == events

    def test_is_not_there_if_the_change_is_rolled_back(
        self, client: FlaskClient, services: Services, cast: Cast, database_url: str
    ) -> None:
        events = events_of(database_url, cast.acme.organization_id)
        response = client.post("/api/v1/agents", json={"name": "builder"}, headers=cast.acme.bearer())
        assert response.status_code == 409
        with pytest.raises(RuntimeError), database_of(services, cast.acme.organization_id).transaction() as opened:
            update_agent(opened, cast.acme.agent_id, {"status": "suspended"})
            raise RuntimeError
        assert events_of(database_url, cast.acme.organization_id) == events

    def test_is_written_at_the_instant_of_its_change(self, services: Services, cast: Cast, database_url: str) -> None:
        earlier = NOON.replace(year=2025)
        with database_of(services, cast.acme.organization_id).transaction() as opened:
            add_agent(opened.as_of(earlier), name="earlier", description="", scopes=[], max_agents=100)
            add_agent(opened, name="now", description="", scopes=[], max_agents=100)
        *_, first, second = events_of(database_url, cast.acme.organization_id)
        assert (first["at"], second["at"]) == ("2025-04-15T12:00:00.000000Z", "2026-04-15T12:00:00.000000Z")
        assert verified(database_url, cast.acme.organization_id).broken_at is None

    def test_has_an_action_that_is_described(self, services: Services, cast: Cast) -> None:
        with (
            pytest.raises(ValueError, match=r"^describe the action agent\.painted in ACTIONS$"),
            database_of(services, cast.acme.organization_id).transaction() as opened,
        ):
            audit.record(opened, "agent.painted", cast.acme.agent_id)

    def test_contains_no_fraction(self, services: Services, cast: Cast) -> None:
        with (
            pytest.raises(TypeError, match="record a fraction as text"),
            database_of(services, cast.acme.organization_id).transaction() as opened,
        ):
            audit.record(opened, "agent.changed", cast.acme.agent_id, after={"a": [{"b": 0.5}]})

    def test_survives_every_kind_of_text(self, services: Services, cast: Cast, database_url: str) -> None:
        text = 'ümlaut "quoted" \\ \u2028 \U0001f600 \n\t'
        after = {text: [text, 10**12, -1, True, None, {"b": 1, "a": {}}]}
        with database_of(services, cast.acme.organization_id).transaction() as opened:
            audit.record(opened, "agent.changed", "x", after=after | {"at": NOON})
        *_, event = events_of(database_url, cast.acme.organization_id)
        assert event["after"] == after | {"at": "2026-04-15T12:00:00.000000Z"}
        assert verified(database_url, cast.acme.organization_id).broken_at is None


def test_the_documentation_lists_every_action() -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.*?) \|$", text, re.MULTILINE))
    assert rows == {name: action.description for name, action in audit.ACTIONS.items()}


class TestTheActor:
    def test_is_the_process_by_default(self, services: Services, cast: Cast, database_url: str) -> None:
        first, agent, credential = events_of(database_url, cast.acme.organization_id)
        assert [first["action"], first["actorType"], first["actor"]] == [
            "organization.created",
            "operator",
            find_operator().name,
        ]
        assert [(event["actorType"], event["actor"]) for event in (agent, credential)] == [
            (SYSTEM.type, SYSTEM.name)
        ] * 2

    def test_on_the_command_line_is_the_user_of_the_operating_system(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SUDO_USER", raising=False)
        user = pwd.getpwuid(os.geteuid()).pw_name
        assert find_operator() == Actor("operator", user)
        monkeypatch.setenv("SUDO_USER", "ännä")
        assert find_operator() == Actor("operator", f"{user} (sudo by \\xe4nn\\xe4)")
        monkeypatch.setenv("SUDO_USER", user)
        assert find_operator() == Actor("operator", user)

    def test_may_be_a_user_without_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SUDO_USER", raising=False)
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        assert find_operator() == Actor("operator", "uid 54321")


class TestTheChain:
    def test_does_not_fork_when_two_change_something_at_once(
        self, services: Services, cast: Cast, database_url: str
    ) -> None:
        organization_id = cast.acme.organization_id

        def work(number: int) -> None:
            for index in range(5):
                with database_of(services, organization_id).transaction() as opened:
                    # Two events per transaction also test their order within the transaction.
                    for letter in "ab":
                        add_agent(opened, name=f"{number} {index} {letter}", description="", scopes=[], max_agents=100)

        threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        result = verified(database_url, organization_id)
        assert (result.events, result.broken_at) == (33, None)
        names = [event["after"]["name"] for event in events_of(database_url, organization_id)[3:]]
        assert [name[:-1] for name in names[::2]] == [name[:-1] for name in names[1::2]]

    def test_shows_what_the_owner_changes_and_is_whole_after_its_content_was_erased(
        self, cast: Cast, database_url: str
    ) -> None:
        theirs = cast.acme.organization_id
        execute(database_url, "update audit_events set before = null, after = null, salt = null where sequence = 2")
        result = verified(database_url, theirs)
        assert (result.events, result.erased, result.broken_at) == (3, 1, None)
        execute(
            database_url,
            "update audit_events set at = '2020-01-01Z' where sequence = 3 and organization_id = %s",
            theirs,
        )
        assert verified(database_url, theirs).broken_at == 3
        assert verified(database_url, cast.outsider.organization_id).broken_at is None


@pytest.mark.parametrize(
    "statement",
    [
        "update audit_events set actor = 'x'",
        "delete from audit_events",
        "truncate audit_events",
        "delete from audit_heads",
        "truncate audit_heads",
        "alter table audit_events disable row level security",
    ],
)
def test_the_services_role_cannot_change_the_trail(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(f"set role {SERVICE_ROLE}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
