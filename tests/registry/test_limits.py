"""Maximum numbers of objects per organization, which two concurrent transactions do not exceed either."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from agentidp.alerts import targets
from agentidp.alerts.target_fields import NewAlertTargetSchema
from agentidp.db.organization import Transaction
from agentidp.http.errors import Conflict
from agentidp.registry import (
    credentials,
    delegation_rules,
    markers,
    organization_rules,
    provisioning,
    resource_identifiers,
    resource_servers,
)
from agentidp.registry.agents import add_agent
from agentidp.registry.delegation_rules import NewDelegationRuleSchema
from agentidp.registry.provisioning import NewProvisioningRuleSchema
from tests.conftest import Cast
from tests.factories import NOON, Agent, database_of

TRUST = {"issuer": "https://login.acme.example", "subject": "somebody"}

Add = Callable[[Transaction, Agent], Any]


def api_of(agent: Agent) -> str:
    return f"https://{agent.organization_id}.example"


def add_an_agent(opened: Transaction, _: Agent) -> None:
    add_agent(opened, name=str(uuid.uuid4()), scopes=[], max_agents=2)


def add_a_credential(opened: Transaction, agent: Agent) -> None:
    credentials.add_credential(opened, agent.agent_id, expires_at=None)


def add_a_resource_server(opened: Transaction, agent: Agent, resource: str = "") -> None:
    new = {"resource": resource or f"https://{uuid.uuid4()}.example", "name": "API", "scopes": ["read"]}
    resource_servers.add_resource_server(opened, agent.services.settings, **new)


def add_a_delegation_rule(opened: Transaction, agent: Agent) -> None:
    resources = [{"resource": api_of(agent), "scopes": ["read"]}]
    body = {"name": str(uuid.uuid4()), "trust": TRUST, "agentIds": [str(agent.agent_id)], "resources": resources}
    delegation_rules.add_rule(opened, agent.services.settings, NewDelegationRuleSchema().load(body))


def add_a_provisioning_rule(opened: Transaction, agent: Agent) -> None:
    trust = TRUST | {"audience": f"https://acme.example/{agent.organization_id}"}
    body = {"name": str(uuid.uuid4()), "trust": trust, "agentTemplate": {}}
    provisioning.add_rule(opened, agent.services.settings, NewProvisioningRuleSchema().load(body))


def add_a_marker(opened: Transaction, _: Agent) -> None:
    markers.add_marker(opened, kind="deployment", starts_at=NOON, ends_at=None, agent_id=None, note=None)


def add_a_target(opened: Transaction, agent: Agent) -> None:
    new = NewAlertTargetSchema().load({"name": str(uuid.uuid4()), "type": "webhook", "url": "https://alerts.example"})
    targets.add_target(opened, agent.services.settings, new)


@pytest.mark.parametrize(
    ("module", "constant", "number", "add"),
    [
        pytest.param(None, "", 0, add_an_agent, id="agents"),
        pytest.param(credentials, "MAX_CREDENTIALS", 2, add_a_credential, id="credentials"),
        pytest.param(resource_servers, "MAX_RESOURCE_SERVERS", 2, add_a_resource_server, id="resource servers"),
        pytest.param(resource_identifiers, "MAX_CLAIMS", 2, add_a_resource_server, id="identifiers"),
        pytest.param(organization_rules, "MAX_RULES", 1, add_a_delegation_rule, id="delegation rules"),
        pytest.param(organization_rules, "MAX_RULES", 1, add_a_provisioning_rule, id="provisioning rules"),
        pytest.param(markers, "MAX_MARKERS", 1, add_a_marker, id="markers"),
        pytest.param(targets, "MAX_TARGETS", 1, add_a_target, id="alert targets"),
    ],
)
def test_the_last_one_that_is_possible_is_added_once(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, module: Any, constant: str, number: int, add: Add
) -> None:
    agent = cast.acme
    database = database_of(agent.services, agent.organization_id)
    with database.transaction() as opened:
        add_a_resource_server(opened, agent, api_of(agent))
    if module is not None:
        monkeypatch.setattr(module, constant, number)

    def add_another() -> None:
        with database.transaction() as opened:
            add(opened, agent)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as opened:
            add(opened, agent)
            second = pool.submit(add_another)
            # The other transaction ends only if it does not see the object that this transaction added.
            wait([second], timeout=0.5)
        with pytest.raises(Conflict):
            second.result()
