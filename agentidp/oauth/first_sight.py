"""First sight: a token of a subject that no agent trusts yet, and of which a provisioning rule may create an agent.

Nothing here is in the way of a token that an agent trusts. A token finds the organization whose rules may create an
agent by its audience, which has the organization's id. ``agentidp/registry/provisioning.py`` creates the agent, with a
rule of trust of its own; then the token is verified by that, as any later one is.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from flask import current_app

from agentidp.counting import UNKNOWN_AGENT
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call, Rows
from agentidp.federation.issuer_tokens import MAX_CHARACTERS, Candidate, IssuerToken
from agentidp.federation.rule import Rule
from agentidp.oauth import federated_token
from agentidp.oauth.issuance import Client
from agentidp.services import Services

PROVISION = "agentidp_provision_agent"
"""The extension of the application that creates an agent: a function of a layer above this one."""

NO_AGENT_YET, SWITCHED_OFF, RULE_FULL, AGENTS_FULL, NOT_CREATED = REASONS = (
    "no agent yet",
    "provisioning is off",
    "rule has its maximum of agents",
    "organization has its maximum of agents",
    "agent cannot be created",
)
"""Why an authentic token of a new subject is rejected, in the words of the log. The first one is that of an endpoint
that creates no agent.
"""


class Refused(Exception):
    """No agent is created. The message is one of :data:`REASONS`."""


def provisioning_rules(token: IssuerToken) -> Call:
    """Return the statement that reads an organization's rules for :func:`look`."""
    return Call(
        "oauth/provisioning_rules",
        {"issuers": list(token.issuers), "selectors": token.subject_selectors, "max_characters": MAX_CHARACTERS},
    )


def look(s: Services, token: IssuerToken, refused: Client, organization_id: str, rows: Rows, at: datetime) -> Client:
    """Find the provisioning rule that accepts a token which no agent trusts.

    :param refused: the result if there is no such rule.
    :param organization_id: the organization of the rules.
    :param rows: the result of :func:`provisioning_rules`, oldest first.
    :returns: a client with ``sighting``, or with the reason why no agent can be created, or the agent that the subject
        has and that does not trust the token any more.
    """
    named = replace(refused, organization_id=organization_id, agent_id=UNKNOWN_AGENT, refusal=NO_AGENT_YET)
    candidates = [
        Candidate(s.issuer_tokens.rule(organization_id, row.trust) if row.trust else None, row=row) for row in rows
    ]
    verdict = federated_token.verdict_of(s, token, candidates, named, at)
    if not verdict.accepting or not isinstance(token.claims.get("sub"), str):
        return refused
    [accepting] = verdict.accepting
    agent_id = accepting.row.agent_id or ended_agent(s.database.of(organization_id, at), token)
    if agent_id is not None:
        # It does not trust the token any more; or another request has created it since it was looked for.
        return federated_token.verify(s, token, replace(named, agent_id=agent_id), at)
    if not accepting.row.is_on:
        return replace(named, refusal=SWITCHED_OFF)
    return replace(named, sighting=(accepting.row, token))


def ended_agent(database: OrganizationDatabase, token: IssuerToken) -> UUID | None:
    """Return the agent that somebody has registered for a subject, and that an administrator has ended: the agent is
    suspended, or it is deleted or its rule is revoked, and the rule was for exactly this subject.
    """
    # No rule has a subject with characters that PostgreSQL does not take.
    subject = str(token.claims.get("sub")).encode(errors="replace").decode().replace("\0", "")
    rows = database.fetch("oauth/ended_rules", issuers=list(token.issuers), subject=subject)
    return next((row.agent_id for row in rows if Rule.of(row.trust).is_met_by(token.compared)), None)


def provision(s: Services, client: Client, at: datetime) -> Client:
    """Create the agent of a client that :func:`look` has found, unless another request just has.

    :returns: the agent, with the rule of its own that accepts the token; or with the reason why there is none.
    """
    row, token = client.sighting
    try:
        database = s.database.of(client.organization_id, at)
        agent_id = current_app.extensions[PROVISION](database, s.settings, row, token.claims)
    except Refused as refused:
        return replace(client, refusal=str(refused))
    return federated_token.verify(s, token, replace(client, agent_id=agent_id), at)
