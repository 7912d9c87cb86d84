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
from agentidp.federation.rule import Rule, selector_of
from agentidp.jose.jws import UnverifiedJwt
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


def provisioning_rules(unverified: UnverifiedJwt, of: tuple[str, ...]) -> Call:
    """The statement that reads an organization's rules for :func:`look`.

    :param of: whose token it may be.
    """
    subject = str(unverified.claims.get("sub"))
    selectors = [selector_of(issuer, subject) for issuer in of]
    return Call("oauth/provisioning_rules", {"issuers": list(of), "selectors": selectors})


def look(
    s: Services,
    unverified: UnverifiedJwt,
    refused: Client,
    organization_id: str,
    rows: Rows,
    at: datetime,
    *,
    is_svid: bool,
) -> Client:
    """Find the provisioning rule that accepts a token which no agent trusts.

    :param refused: what is returned if there is none.
    :param organization_id: whose rules they are.
    :param rows: what :func:`provisioning_rules` has read.
    :returns: a client with ``sighting``, or with the reason why no agent can be created, or the agent that the subject
        has and that does not trust the token any more.
    """
    subject = unverified.claims.get("sub")
    named = replace(refused, organization_id=organization_id, agent_id=UNKNOWN_AGENT, refusal=NO_AGENT_YET)
    # Of two with the same trust the oldest, which is the last one here.
    newest_first = [(Rule.of(row.trust), row) for row in reversed(rows)]
    rules = {rule.text: (rule, row) for rule, row in newest_first}
    accepted, _ = federated_token.accept(s, named, unverified, [rule for rule, _ in reversed(newest_first)], at)
    if accepted is None or not isinstance(subject, str):
        return refused
    _, row = rules[accepted.text]
    of = federated_token.issuers(s, unverified, is_svid=is_svid)
    agent_id = row.agent_id or ended_agent(s.database.of(organization_id, at), unverified, of)
    if agent_id is not None:
        # It does not trust the token any more; or another request has created it since it was looked for.
        return federated_token.verify(s, unverified, replace(named, agent_id=agent_id), at, is_svid=is_svid)
    if not row.is_on:
        return replace(named, refusal=SWITCHED_OFF)
    return replace(named, sighting=(row, unverified, is_svid))


def ended_agent(database: OrganizationDatabase, unverified: UnverifiedJwt, of: tuple[str, ...]) -> UUID | None:
    """The agent that somebody has registered for a subject, and that an administrator has ended: it is suspended, or it
    is deleted or its rule is revoked, and the rule was of exactly this subject.

    :param of: whose token it may be.
    """
    # What PostgreSQL does not take is the subject of no rule.
    subject = str(unverified.claims.get("sub")).encode(errors="replace").decode().replace("\0", "")
    rows = database.fetch("oauth/ended_rules", issuers=list(of), subject=subject)
    return next((row.agent_id for row in rows if Rule.of(row.trust).is_met_by(unverified.claims)), None)


def provision(s: Services, client: Client, at: datetime) -> Client:
    """Create the agent of a client that :func:`look` has found, unless another request just has.

    :returns: the agent, with the rule of its own that accepts the token; or with the reason why there is none.
    """
    row, unverified, is_svid = client.sighting
    try:
        database = s.database.of(client.organization_id, at)
        agent_id = current_app.extensions[PROVISION](database, s.settings, row, unverified.claims)
    except Refused as refused:
        return replace(client, refusal=str(refused))
    return federated_token.verify(s, unverified, replace(client, agent_id=agent_id), at, is_svid=is_svid)
