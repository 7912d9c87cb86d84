"""ID-JAG: a company's provider lets a client act for a person (draft-ietf-oauth-identity-assertion-authz-grant-04).

The client sends the ID-JAG with the grant type ``jwt-bearer``, and authenticates as for every other grant. The request
is treated as a token exchange whose subject token is the ID-JAG (:mod:`agentidp.oauth.token_exchange`). This module
makes further checks of an ID-JAG.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from agentidp.config import LEEWAY
from agentidp.db.sql import Call
from agentidp.federation.issuer_tokens import IssuerToken
from agentidp.federation.rule import as_list
from agentidp.http.errors import OAuthError
from agentidp.http.resource_identifier import is_resource_identifier
from agentidp.jose.assertion import CLIENT_LEEWAY
from agentidp.jose.dpop import Proof
from agentidp.jose.jws import MAX_JTI_LENGTH
from agentidp.oauth.issuance import JWT_BEARER, Client
from agentidp.services import Services

TYPE = "oauth-id-jag+jwt"
PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
"""The only value of the metadata's ``authorization_grant_profiles_supported``."""

OTHER_CLIENT, OTHER_TENANT, OTHER_KEY, WRONG_MEMBERS, USED = REASONS = (
    "ID-JAG of another client",
    "ID-JAG of another organization",
    "ID-JAG of another key",
    "wrong members of the ID-JAG",
    "ID-JAG used before",
)
"""Logged reasons why an ID-JAG is not acceptable, in addition to the reasons for a subject token."""


def read(services: Services, form: dict[str, str]) -> IssuerToken | None:
    """Return the ID-JAG in a form, or ``None`` for another grant type or for a workload's token."""
    if form["grant_type"] != JWT_BEARER or "assertion" not in form:
        return None
    return services.issuer_tokens.read_token(form["assertion"], types=(TYPE,))


def find_resource(id_jag: IssuerToken, form: dict[str, str], own_resource: str) -> str:
    """Return the resource in the form or, if the form has none, the only resource in the ID-JAG.

    :param own_resource: the identifier of our own API, which accepts no token from an ID-JAG.
    :raises OAuthError: ``invalid_target`` for no resource, or one that the ID-JAG does not name.
    """
    requested_resource = form.get("resource")
    resources = as_list(id_jag.claims.get("resource", requested_resource))
    resource = resources[0] if requested_resource is None and len(resources) == 1 else requested_resource
    if not isinstance(resource, str) or resource not in resources or not is_resource_identifier(resource):
        raise OAuthError("invalid_target", "resource must be in the ID-JAG, and must be sent if the ID-JAG has several")
    if resource == own_resource:
        raise OAuthError("invalid_target", "an ID-JAG must be for a resource server of the organization")
    return resource


def find_refusal(claims: dict[str, Any], client: Client, proof: Proof | None) -> str | None:
    """Return the reason why a client may not use an ID-JAG with these verified claims, or ``None`` if it may."""
    jti = claims.get("jti")
    if claims.get("client_id") != str(client.agent_id):
        return OTHER_CLIENT
    if claims.get("aud_tenant", client.organization_id) != client.organization_id:
        return OTHER_TENANT
    if "cnf" in claims and claims["cnf"] != {"jkt": proof and proof.jkt}:
        return OTHER_KEY
    has_jti = isinstance(jti, str) and 1 <= len(jti) <= MAX_JTI_LENGTH
    # Refuses an ID-JAG whose access authorization_details (RFC 9396) restrict, because this server does not apply them.
    # Requires iss even if the sub is a SPIFFE ID, which names an issuer too.
    if not has_jti or not {"iss", "iat"} <= claims.keys() or "authorization_details" in claims:
        return WRONG_MEMBERS
    return None if isinstance(claims.get("scope", ""), str) else WRONG_MEMBERS


def build_use_call(claims: dict[str, Any]) -> Call:
    """Return the call that records the use of an ID-JAG. A second use is a unique violation."""
    jti_digest = hashlib.sha256(json.dumps(["id-jag", claims["iss"], claims["jti"]]).encode()).digest()
    # An ID-JAG is accepted until CLIENT_LEEWAY after exp. The clocks of two servers may differ by twice LEEWAY, so the
    # server with the slower clock accepts the ID-JAG for longer.
    expires_at = datetime.fromtimestamp(claims["exp"] + CLIENT_LEEWAY + 2 * LEEWAY, UTC)
    return Call("oauth/use_identifier", {"digest": jti_digest, "expires_at": expires_at})
