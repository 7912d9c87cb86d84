"""Whose agents a target is told of, and whom an alert names."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID

from agentidp.alerts import messages, outbox
from agentidp.registry.agents import update_agent
from tests.alerts.conftest import Outbox, change
from tests.alerts.receiver import Receiver
from tests.factories import make_agent

ACME = messages.Organization("org-1", "Acme")


def agent_of(acme: Outbox, name: str, owner: str) -> UUID:
    """An agent with this owner."""
    agent_id = make_agent(acme.services, acme.organization_id, name).agent_id
    with acme.services.database.of(acme.organization_id, acme.services.clock()).transaction() as opened:
        update_agent(opened, agent_id, {"owner": owner})
    return agent_id


def receivers(acme: Outbox, agent_id: UUID | None, contributors: tuple[UUID, ...] = ()) -> int:
    """How many targets get a finding about these agents."""
    with acme.services.database.of(acme.organization_id, acme.services.clock()).transaction() as opened:
        return outbox.enqueue(opened, change(agent_id=agent_id), contributors=contributors)


def test_a_target_gets_findings_about_the_agents_of_its_owners(acme: Outbox) -> None:
    ada, grace = agent_of(acme, "reader", "Ada"), agent_of(acme, "writer", "Grace")
    nobodys = agent_of(acme, "nobody's", "")
    acme.add_target("https://127.0.0.1", owners=["Ada", "Emmy"])
    assert receivers(acme, ada) == 1
    # Owners are compared exactly.
    assert [receivers(acme, agent) for agent in (grace, nobodys, agent_of(acme, "copy", "ada"))] == [0, 0, 0]
    # About the organization, and about several agents of which one is Ada's.
    assert receivers(acme, None) == 0
    assert receivers(acme, None, (grace, ada)) == 1
    assert receivers(acme, None, (grace, nobodys)) == 0


def test_a_target_without_owners_gets_all_findings(acme: Outbox) -> None:
    agent_id = agent_of(acme, "reader", "Ada")
    acme.add_target("https://127.0.0.1")
    assert [receivers(acme, agent) for agent in (agent_id, None)] == [1, 1]


def test_who_has_received_the_beginning_receives_the_end_though_the_agent_has_another_owner(acme: Outbox) -> None:
    agent_id = agent_of(acme, "reader", "Ada")
    acme.add_target("https://127.0.0.1", owners=["Ada"])
    begun = change(agent_id=agent_id)
    with acme.services.database.of(acme.organization_id, acme.services.clock()).transaction() as opened:
        assert outbox.enqueue(opened, begun) == 1
        update_agent(opened, agent_id, {"owner": "Grace"})
        assert outbox.enqueue(opened, change(finding_id=begun.finding_id, agent_id=agent_id, change="resolved")) == 1


def test_an_alert_names_the_owner_of_when_it_is_sent(
    acme: Outbox, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    agent_id = agent_of(acme, "reader", "Ada")
    acme.add_target(receiver.url)
    acme.put(change(agent_id=agent_id), change())
    with acme.services.database.of(acme.organization_id, acme.services.clock()).transaction() as opened:
        update_agent(opened, agent_id, {"owner": "Grace"})
    deliver()
    bodies = [json.loads(one.body)["data"] for one in receiver.received]
    owners = {body["agentId"]: body["owner"] for body in bodies}
    assert owners == {str(agent_id): "Grace", None: None}


def test_text_and_alertmanager_name_the_owner() -> None:
    about = change(subject="reader")
    assert "\n\nOwner of reader: Ada\n\n" in messages.text(about, "Ada", "https://idp.example/dashboard")
    assert "Owner" not in messages.text(about, None, "https://idp.example/dashboard")
    [alert] = json.loads(messages.alertmanager_body(about, ACME, "Ada", "https://idp.example/dashboard"))
    assert alert["annotations"]["owner"] == "Ada"
