"""Create an agent, by a provisioning rule, for the first token of a subject that no agent trusts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import current_app

from agentidp.counting import UNKNOWN_AGENT
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call, Rows
from agentidp.federation.issuer_tokens import MAX_CHARACTERS, Candidate, IssuerToken
from agentidp.federation.rule import Rule
from agentidp.oauth import federated_token
from agentidp.oauth.client import Client
from agentidp.services import Services

PROVISION = "agentidp_provision_agent"
"""Key in ``app.extensions`` of the function that creates an agent. This layer must not import that function."""

NO_AGENT_YET, SWITCHED_OFF, RULE_FULL, AGENTS_FULL, NOT_CREATED = REASONS = (
    "no agent yet",
    "provisioning is off",
    "rule has its maximum of agents",
    "organization has its maximum of agents",
    "agent cannot be created",
)
"""Logged reasons why a valid token of a new subject is rejected. Only the token endpoint creates agents."""


class ProvisioningRefused(Exception):
    """The agent for a token cannot be created. The message is one of :data:`REASONS`."""


def build_provisioning_rules_call(token: IssuerToken) -> Call:
    """Return the call that reads an organization's provisioning rules for a token."""
    return Call(
        "oauth/provisioning_rules",
        {"issuers": list(token.issuers), "selectors": token.subject_selectors, "max_characters": MAX_CHARACTERS},
    )


def match_provisioning_rule(
    services: Services, token: IssuerToken, unknown_client: Client, organization_id: str, rule_rows: Rows, at: datetime
) -> Client:
    """Return the client for a token that no agent trusts, by the provisioning rule that accepts the token.

    :param unknown_client: the result if no rule accepts the token.
    :returns: a client with ``new_subject``, with the subject's agent, or with the reason why no agent can be created.
    """
    client = replace(unknown_client, organization_id=organization_id, agent_id=UNKNOWN_AGENT, refusal=NO_AGENT_YET)
    parse_rule = services.issuer_tokens.parse_rule
    candidates = [
        Candidate(row.trust and parse_rule(organization_id, row.trust), UNKNOWN_AGENT, row) for row in rule_rows
    ]
    verdict = services.issuer_tokens.verify_token(token, candidates, at, organization_id=organization_id)
    if not verdict.accepting or not isinstance(token.claims.get("sub"), str):
        return unknown_client
    accepting_row = verdict.accepting[0].row
    agent_id = accepting_row.agent_id or find_ended_agent(services.database.of(organization_id, at), token)
    if agent_id is not None:
        # An existing agent's own rules decide instead of the provisioning rule, because the agent may no longer trust
        # the token.
        return federated_token.verify_for_client(services, token, replace(client, agent_id=agent_id), at)
    if not accepting_row.is_on:
        return replace(client, refusal=SWITCHED_OFF)
    return replace(client, new_subject=(accepting_row, token))


def find_ended_agent(database: OrganizationDatabase, token: IssuerToken) -> UUID | None:
    """Return the agent of a token's subject if an administrator has ended the agent's access, otherwise ``None``."""
    # Characters that PostgreSQL refuses are replaced. This is safe, because is_met_by() compares the real subject.
    subject = str(token.claims.get("sub")).encode(errors="replace").decode().replace("\0", "")
    rules = database.fetch("oauth/ended_rules", issuers=list(token.issuers), subject=subject)
    return next((rule.agent_id for rule in rules if Rule.from_trust(rule.trust).is_met_by(token.prepared_claims)), None)


def create_agent(services: Services, client: Client, rule_row: Any, token: IssuerToken, at: datetime) -> Client:
    """Create an agent for the subject of a token. Return the client with the new agent, or with a ``refusal``.

    :param rule_row: the row of the provisioning rule that accepts the token.
    """
    try:
        database = services.database.of(client.organization_id, at)
        agent_id = current_app.extensions[PROVISION](database, services.settings, rule_row, token.claims)
    except ProvisioningRefused as error:
        return replace(client, refusal=str(error))
    return federated_token.verify_for_client(services, token, replace(client, agent_id=agent_id), at)
