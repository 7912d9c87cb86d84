"""Issues tokens for an agent on the operator's command line, without a credential of the agent."""

from __future__ import annotations

import uuid
from datetime import datetime
from uuid import UUID

from agentidp import audit
from agentidp.config import ConfigurationError
from agentidp.http.errors import require_row
from agentidp.oauth import issuance
from agentidp.oauth.client import Client
from agentidp.oauth.client_secret import hash_secret, new_secret
from agentidp.registry import quotas
from agentidp.registry.credentials import MAX_CREDENTIALS
from agentidp.services import Services


def issue_counted_token(
    services: Services,
    organization_id: str,
    agent_id: UUID,
    *,
    scope: list[str] | None,
    resource: str | None,
    at: datetime,
) -> str:
    """Count and sign an access token for an agent, and return it. Parameters and errors as in :func:`count_token`."""
    # The signing key is read first, because a token that cannot be signed must not be counted.
    signing_key = services.keys.current().signing
    client, counted_token = count_token(services, organization_id, agent_id, scope=scope, resource=resource, at=at)
    response_body = issuance.build_token_response(services, signing_key, client, counted_token, at=at)
    return str(response_body["access_token"])


def count_token(
    services: Services,
    organization_id: str,
    agent_id: UUID,
    *,
    scope: list[str] | None,
    resource: str | None,
    at: datetime,
    action: str = "agent.token_issued",
    is_counted: bool = True,
) -> tuple[Client, issuance.CountedToken]:
    """Count a token for an agent, which authenticates by a secret that exists only in the transaction.

    :param scope: the requested scopes; ``None`` for all scopes of the agent.
    :param resource: the identifier of the resource server; ``None`` for our own API.
    :param action: the action of the event in the audit trail.
    :param is_counted: whether usage includes the token; ``False`` for a link that signs in to the dashboard.
    :returns: the client and the counted token, from which the caller can build a response.
    :raises ConfigurationError: the agent or its organization is suspended.
    :raises NotFound: the organization has no such agent.
    :raises OAuthError: the agent is not allowed to get the token, or a quota refuses the token.
    """
    client = Client(organization_id, agent_id, secret_hash=hash_secret(new_secret()))
    # An agent's temporary credentials share one id, so that usage per credential has only one row per day for them.
    credential_id = uuid.uuid5(agent_id, "operator")
    with services.database.of(organization_id, at).transaction() as transaction:
        quotas.block_changes(transaction)
        # This lock makes other commands wait, because all temporary credentials of the agent have the same id.
        require_row(transaction.fetch("agents/lock_agent", agent_id=agent_id))
        transaction.fetch(
            "agents/add_credential",
            agent_id=agent_id,
            credential_id=credential_id,
            secret_hash=client.secret_hash,
            **dict.fromkeys(("jwks", "trust", "trust_selector", "label", "expires_at")),
            max_credentials=MAX_CREDENTIALS + 1,
        )
        issuance_call = issuance.build_call(client, scope=scope, resource=resource, is_counted=is_counted)
        counted_token = issuance.check_issuance(client, issuance_call, transaction.run(issuance_call), at=at)
        transaction.fetch("agents/forget_credential", credential_id=credential_id)
        if counted_token is not None:
            audit.record(transaction, action, agent_id, after={"scope": counted_token.scope, "resource": resource})
    if counted_token is None:
        raise _suspension_error(services, organization_id, agent_id, at)
    return client, counted_token


def _suspension_error(services: Services, organization_id: str, agent_id: UUID, at: datetime) -> ConfigurationError:
    [organization] = services.database.of(organization_id, at).fetch("organizations/get_organization")
    if organization.suspended_at is not None:
        return ConfigurationError(
            f"the organization {organization.name} is suspended: "
            f"agentidp organization resume {organization_id} ends that"
        )
    return ConfigurationError(f"the agent {agent_id} is suspended: agentidp agent resume {agent_id} ends that")
