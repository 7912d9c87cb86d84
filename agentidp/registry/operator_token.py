"""Tokens that the operator issues to an agent on the command line, without a credential of that agent."""

from __future__ import annotations

import uuid
from datetime import datetime
from uuid import UUID

from agentidp import audit
from agentidp.config import ConfigurationError
from agentidp.http.errors import existing
from agentidp.oauth import issuance
from agentidp.oauth.client_secret import hash_secret, new_secret
from agentidp.registry import quotas
from agentidp.registry.credentials import MAX_CREDENTIALS
from agentidp.services import Services


def issue(
    services: Services,
    organization_id: str,
    agent_id: UUID,
    *,
    scope: list[str] | None,
    resource: str | None,
    at: datetime,
) -> str:
    """An access token, counted like any other.

    Arguments and errors are those of :func:`grant`.
    """
    # Read first: a token that cannot be signed must not be counted.
    signing_key = services.keys.current().signing
    client, granted = grant(services, organization_id, agent_id, scope=scope, resource=resource, at=at)
    body = issuance.token_response(
        services,
        signing_key,
        client,
        granted.scope,
        resource=resource,
        audience=granted.audience,
        at=at,
        ttl=granted.token_ttl,
        subject=granted.subject,
    )
    access_token: str = body["access_token"]
    return access_token


def grant(
    services: Services,
    organization_id: str,
    agent_id: UUID,
    *,
    scope: list[str] | None,
    resource: str | None,
    at: datetime,
    action: str = "agent.token_issued",
    is_counted: bool = True,
) -> tuple[issuance.Client, issuance.Grant]:
    """Grant an agent a token, by the statement that does so for the token endpoint.

    The agent authenticates with a secret that is made for this token and removed in the same transaction.

    :param scope: all that the agent has if ``None``.
    :param resource: our own API if ``None``.
    :param action: what the audit trail calls it.
    :param is_counted: false for a link that signs in to the dashboard.
    :returns: the agent as a client, and what it is granted.
    :raises ConfigurationError: the agent or its organization is suspended.
    :raises NotFound: the organization has no such agent.
    :raises OAuthError: the agent may not have what is asked for, or a quota refuses it.
    """
    client = issuance.Client(organization_id, agent_id, secret_hash=hash_secret(new_secret()))
    # Always the same for an agent, so that its tokens are counted in one row a day. Nobody else's credential has it:
    # all others are random.
    credential_id = uuid.uuid5(agent_id, "operator")
    with services.database.of(organization_id, at).transaction() as transaction:
        quotas.share(transaction)
        # Two commands for one agent wait for each other.
        existing(transaction.fetch("agents/lock_agent", agent_id=agent_id))
        transaction.fetch(
            "agents/add_credential",
            agent_id=agent_id,
            credential_id=credential_id,
            secret_hash=client.secret_hash,
            **dict.fromkeys(("jwks", "trust", "trust_selector", "label", "expires_at")),
            most=MAX_CREDENTIALS + 1,
        )
        call = issuance.issuing(client, scope=scope, resource=resource, has_proof=False, is_counted=is_counted)
        granted = issuance.granted(client, call, transaction.run(call), at=at)
        transaction.fetch("agents/forget_credential", credential_id=credential_id)
        if granted is not None:
            audit.record(transaction, action, agent_id, after={"scope": granted.scope, "resource": resource})
    if granted is None:
        raise _suspended(services, organization_id, agent_id, at)
    return client, granted


def _suspended(services: Services, organization_id: str, agent_id: UUID, at: datetime) -> ConfigurationError:
    [organization] = services.database.of(organization_id, at).fetch("organizations/get_organization")
    if organization.suspended_at is not None:
        return ConfigurationError(
            f"the organization {organization.name} is suspended: "
            f"agentidp organization resume {organization_id} ends that"
        )
    return ConfigurationError(f"the agent {agent_id} is suspended: agentidp agent resume {agent_id} ends that")
