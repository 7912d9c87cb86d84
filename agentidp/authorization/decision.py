"""Decide by the delegation rules of an organization which access an agent may get for a person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from agentidp.authorization.requests import AuthorizationRequest
from agentidp.db.sql import Call
from agentidp.federation.rule import Rule, TokenClaims
from agentidp.http.errors import OAuthError
from agentidp.http.resource_identifier import normalize_identifier, owned_name
from agentidp.jose.access_token import AGENT
from agentidp.oauth.grants import MAX_GRANTS, compute_person_subject
from agentidp.oauth.token_exchange import find_subject_refusal
from agentidp.registry.grants import build_list_call
from agentidp.scopes import SCOPES
from agentidp.services import services


@dataclass(frozen=True, slots=True)
class Offer:
    """The access that an agent gets if the person allows it.

    :param new_scopes: the scopes that the person's grants in use lack; empty if the person has no grant in use.
    :param days: the number of days for which the access is allowed.
    """

    organization_name: str
    agent_name: str
    resource_name: str
    scopes: list[str]
    new_scopes: list[str]
    rule_id: UUID
    days: int


class NoRule(Exception):
    """No delegation rule lets the agent act for the person."""

    def __init__(self, organization_name: str, agent_name: str) -> None:
        super().__init__(organization_name)
        self.organization_name, self.agent_name = organization_name, agent_name


def find_resource(requested: AuthorizationRequest, organization_id: str, at: datetime) -> AuthorizationRequest:
    """Return the request with its resource spelled as in the registered identifier of the resource server."""
    # The SDKs of MCP request https://host/ if a person enters https://host.
    server_rows = services().database.of(organization_id, at).fetch("oauth/list_resource_servers")
    normalized_resource = normalize_identifier(requested.resource)
    registered_identifiers = [
        server.resource for server in server_rows if normalize_identifier(server.resource) == normalized_resource
    ]
    if not registered_identifiers or requested.resource in registered_identifiers:
        return requested
    return replace(requested, parameters=requested.parameters | {"resource": registered_identifiers[0]})


def find_offer(requested: AuthorizationRequest, claims: dict[str, Any], at: datetime) -> Offer:
    """Return the access that an agent gets if the person allows it.

    The oldest rule that accepts the person and has the resource decides.

    :param claims: the claims of a verified ID token of the organization's provider.
    :raises OAuthError: with an error of RFC 6749 section 4.1.2.1, or ``invalid_target``.
    :raises NoRule: no rule accepts the person.
    """
    app_services = services()
    agent_id, resource = requested.agent_id, requested.resource
    person_subject = compute_person_subject(requested.organization_id, claims["iss"], claims["sub"])
    database = app_services.database.of(requested.organization_id, at)
    [organization], agent_rows, server_rows, rules, person_grants = database.run(
        Call("organizations/get_organization", {}),
        Call("agents/get_agent", {"agent_id": agent_id}),
        Call("oauth/list_resource_servers", {}),
        Call("grants/authorizing_rules", {"agent_id": agent_id, "client_host": requested.client_host}),
        build_list_call(subject=person_subject, limit=MAX_GRANTS),
    )
    server = _find_resource_server(server_rows, resource)
    if not agent_rows or agent_rows[0].status != "active" or organization.suspended_at is not None:
        raise OAuthError("access_denied", "the agent or its organization is suspended")
    [agent] = agent_rows
    rule = next((rule for rule in rules if authorizes(rule, resource, claims)), None)
    if rule is None or find_subject_refusal(claims, agent_id, app_services.settings.issuer):
        raise NoRule(organization.name, agent.name)
    offered_scopes = _select_scopes(requested, agent, rule, server)
    grants_of_agent = [grant for grant in person_grants if grant.agent_id == agent_id and grant.resource == resource]
    granted_scopes = {scope for grant in grants_of_agent for scope in grant.scopes}
    new_scopes = [scope for scope in offered_scopes if granted_scopes and scope not in granted_scopes]
    return Offer(
        organization.name, agent.name, server.name, offered_scopes, new_scopes, rule.delegation_rule_id, rule.grant_days
    )


def _find_resource_server(server_rows: list[Any], resource: str) -> Any:
    for server_row in server_rows:
        # Resource servers of cloud providers are refused, because a cloud reads only the claim sub, and would give the
        # agent all rights of the person.
        is_cloud_server = server_row.audience is not None and owned_name(server_row.audience) is None
        if server_row.resource == resource and server_row.subject == AGENT and not is_cloud_server:
            return server_row
    raise OAuthError("invalid_target", "resource is not a resource server at which an agent may act for people")


def _select_scopes(requested: AuthorizationRequest, agent: Any, rule: Any, server: Any) -> list[str]:
    """Return the scopes that agent, rule and resource server have in common, limited to requested scopes, if any."""
    [rule_scopes] = [permission["scopes"] for permission in rule.resources if permission["resource"] == server.resource]
    allowed_scopes = [scope for scope in agent.scopes if scope in rule_scopes and scope in server.scopes]
    # Scopes of our own API that the resource server lacks are ignored, because MCP clients request our scopes if the
    # server's metadata names none.
    requested_scopes = [scope for scope in requested.scopes or [] if scope in server.scopes or scope not in SCOPES]
    selected_scopes = (
        [scope for scope in requested_scopes if scope in allowed_scopes] if requested_scopes else allowed_scopes
    )
    if not selected_scopes:
        raise OAuthError("invalid_scope", "the agent may have none of the requested scopes for this person")
    return selected_scopes


def authorizes(rule: Any, resource: str, claims: dict[str, Any]) -> bool:
    """Return whether a delegation rule contains a resource and accepts the claims of a person's ID token."""
    # A rule for a SPIFFE trust domain would accept a SPIFFE ID as sub from any provider, so iss is compared here.
    if rule.trust["issuer"] != claims["iss"] or all(access["resource"] != resource for access in rule.resources):
        return False
    return Rule.from_trust({"audience": ""} | rule.trust).is_met_by(TokenClaims(claims), ignores_audience=True)
