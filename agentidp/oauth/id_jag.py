"""ID-JAG, identity assertion JWT authorization grant (draft-ietf-oauth-identity-assertion-authz-grant-04).

An ID-JAG is a token by which a company's provider of identities lets a client act for a person. The client sends the
ID-JAG as ``assertion`` with the grant type ``jwt-bearer``, and authenticates as for other grant types. The server
treats the request as a token exchange whose subject token is the ID-JAG (:mod:`agentidp.oauth.token_exchange`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from enum import StrEnum
from typing import Any

from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call
from agentidp.federation.issuer_tokens import IssuerToken
from agentidp.federation.rule import as_list
from agentidp.http.errors import OAuthError
from agentidp.http.resource_identifier import is_resource_identifier
from agentidp.jose.assertion import compute_use_expiry
from agentidp.jose.dpop import Proof
from agentidp.jose.jws import MAX_JTI_LENGTH
from agentidp.oauth import client_authentication, token_exchange
from agentidp.oauth.client import Client
from agentidp.oauth.issuance import CountedToken, SubjectRefused, TokenRequest
from agentidp.oauth.token_exchange import Subject

TYPE = "oauth-id-jag+jwt"
PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
"""The only value of the metadata's ``authorization_grant_profiles_supported``."""


class Reason(StrEnum):
    """A logged reason that exists only for an ID-JAG. The reasons for any subject token are in ``token_exchange``."""

    OTHER_CLIENT = "ID-JAG of another client"
    OTHER_TENANT = "ID-JAG of another organization"
    OTHER_KEY = "ID-JAG of another key"
    WRONG_MEMBERS = "wrong members of the ID-JAG"
    USED = "ID-JAG used before"


def find_resource(id_jag: IssuerToken, form: dict[str, str], own_resource: str) -> str:
    """Return the resource in the form or, if the form has none, the only resource in the ID-JAG.

    :param own_resource: the identifier of our own API, which accepts no token from an ID-JAG.
    """
    requested_resource = form.get("resource")
    id_jag_resources = as_list(id_jag.claims.get("resource", requested_resource))
    resource = id_jag_resources[0] if requested_resource is None and len(id_jag_resources) == 1 else requested_resource
    if not isinstance(resource, str) or resource not in id_jag_resources or not is_resource_identifier(resource):
        raise OAuthError("invalid_target", "resource must be in the ID-JAG, and must be sent if the ID-JAG has several")
    if resource == own_resource:
        raise OAuthError("invalid_target", "an ID-JAG must be for a resource server of the organization")
    return resource


def count_token_by_id_jag(
    id_jag: IssuerToken, token_request: TokenRequest, database: OrganizationDatabase, client: Client
) -> CountedToken | None:
    """Authenticate a client and count a token for the person in an ID-JAG; ``None`` if authentication failed."""
    own_issuer = token_request.services.settings.issuer

    def read_subject() -> Subject:
        # An ID-JAG names the agent in client_id, and its aud must be our issuer.
        subject = token_exchange.read_issuer_subject(token_request, id_jag, client, audience=own_issuer)
        if refusal := find_id_jag_refusal(id_jag.claims, client, token_request.proof):
            raise SubjectRefused(refusal)
        id_jag_use = build_consumption_call(id_jag.claims), SubjectRefused(Reason.USED)
        id_jag_scopes = id_jag.claims["scope"].split() if "scope" in id_jag.claims else None
        return replace(subject, max_scopes=id_jag_scopes, use=id_jag_use)

    refusal_error = client_authentication.invalid_grant()
    return token_exchange.count_token_for_subject(token_request, database, client, read_subject, refusal_error)


def find_id_jag_refusal(claims: dict[str, Any], client: Client, proof: Proof | None) -> str | None:
    """Return the reason why a client may not use an ID-JAG with these verified claims, or ``None`` if it may."""
    jti, scope = claims.get("jti"), claims.get("scope", "")
    if claims.get("client_id") != str(client.agent_id):
        return Reason.OTHER_CLIENT
    if claims.get("aud_tenant", client.organization_id) != client.organization_id:
        return Reason.OTHER_TENANT
    if "cnf" in claims and claims["cnf"] != {"jkt": proof and proof.jkt}:
        return Reason.OTHER_KEY
    has_jti = isinstance(jti, str) and 1 <= len(jti) <= MAX_JTI_LENGTH
    # An ID-JAG with authorization_details (RFC 9396) is refused, because this server does not apply their restrictions.
    # The claim iss is required even if sub is a SPIFFE ID, which names an issuer too.
    if not has_jti or not {"iss", "iat"} <= claims.keys() or "authorization_details" in claims:
        return Reason.WRONG_MEMBERS
    # Characters that are not printable are refused, because the statement would fail for some of them, such as NUL.
    return None if isinstance(scope, str) and scope.isprintable() else Reason.WRONG_MEMBERS


def build_consumption_call(claims: dict[str, Any]) -> Call:
    """Return the call that records the use of an ID-JAG. A second use is a unique violation."""
    digest = hashlib.sha256(json.dumps(["id-jag", claims["iss"], claims["jti"]]).encode()).digest()
    return Call("oauth/use_identifier", {"digest": digest, "expires_at": compute_use_expiry(claims)})
