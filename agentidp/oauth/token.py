"""``POST /api/v1/token``: the token endpoint (RFC 6749 sections 3.2, 4.1.3, 4.4, 5 and 6, RFC 8693)."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

import marshmallow as ma
from flask import Request, Response

from agentidp import metrics
from agentidp.http.error_schemas import describe_error
from agentidp.http.errors import OAuthError
from agentidp.http.openapi import Blueprint
from agentidp.http.request_context import current_context, current_request
from agentidp.http.resource_identifier import MAX_RESOURCE_LENGTH, RESOURCE_IDENTIFIER, is_resource_identifier
from agentidp.http.responses import json_response
from agentidp.jose import dpop
from agentidp.jose.access_token import MAX_LENGTH
from agentidp.jose.assertion import MAX_LENGTH as MAX_ASSERTION_LENGTH
from agentidp.oauth import (
    authorization_grant,
    client_assertion,
    client_authentication,
    first_sight,
    id_jag,
    issuance,
    quota_windows,
    token_exchange,
)
from agentidp.oauth.client_authentication import authenticates_client
from agentidp.oauth.client_form import NO_STORE, ClientFormSchema, describe_client_endpoint, read_form
from agentidp.oauth.issuance import Client
from agentidp.paths import TOKEN_ENDPOINT
from agentidp.services import services

_SCOPE = re.compile(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*")

blueprint = Blueprint("oauth-token", __name__, description="OAuth 2.0 token endpoint")


class TokenRequestSchema(ClientFormSchema):
    """The form of a token request (RFC 6749, 7523, 7636, 8693)."""

    grant_type = ma.fields.String(required=True, validate=ma.validate.OneOf(issuance.GRANT_TYPES))
    assertion = ma.fields.String(
        validate=ma.validate.Length(max=MAX_ASSERTION_LENGTH),
        metadata={"description": "With the grant type jwt-bearer: a token of another issuer, or an ID-JAG"},
    )
    scope = ma.fields.String(
        validate=ma.validate.Regexp(f"(?:{_SCOPE.pattern})?"),
        metadata={"description": "Space-separated. Default: all scopes of the agent"},
    )
    resource = ma.fields.String(
        validate=[ma.validate.Regexp(f"{RESOURCE_IDENTIFIER}?"), ma.validate.Length(max=MAX_RESOURCE_LENGTH)],
        metadata={
            "description": "The resource server that the token is for (RFC 8707). Default: our own API. "
            "Required with the grant type token-exchange"
        },
    )
    subject_token = ma.fields.String(
        validate=ma.validate.Length(max=MAX_LENGTH),
        metadata={"description": "With the grant type token-exchange: a token of the subject for whom the agent acts"},
    )
    subject_token_type = ma.fields.String(
        validate=ma.validate.OneOf([*token_exchange.TYPES, ""]),
        metadata={"description": "`access_token` is for a token of this server, the others for another issuer's"},
    )
    actor_token = ma.fields.String(
        validate=ma.validate.Length(max=MAX_LENGTH),
        metadata={"description": "An access token of the agent. The agent is the actor even without this token"},
    )
    actor_token_type = ma.fields.String(validate=ma.validate.OneOf([issuance.ISSUED_TOKEN_TYPE, ""]))
    requested_token_type = ma.fields.String(validate=ma.validate.OneOf([issuance.ISSUED_TOKEN_TYPE, ""]))
    code = ma.fields.String(metadata={"description": "With the grant type authorization_code"})
    code_verifier = ma.fields.String(
        metadata={"description": "With the grant type authorization_code: the secret of its code_challenge (RFC 7636)"}
    )
    redirect_uri = ma.fields.String(
        metadata={"description": "Optional. Must equal the redirect_uri of the authorization request"}
    )
    refresh_token = ma.fields.String(metadata={"description": "With the grant type refresh_token"})


class TokenResponseSchema(ma.Schema):
    """The response with a token (RFC 6749 section 5.1, RFC 8693 section 2.2.1)."""

    access_token = ma.fields.String(required=True)
    token_type = ma.fields.String(required=True, validate=ma.validate.OneOf(["Bearer", "DPoP"]))
    expires_in = ma.fields.Integer(required=True, validate=ma.validate.Range(1), metadata={"description": "Seconds"})
    scope = ma.fields.String(validate=ma.validate.Regexp(_SCOPE))
    issued_token_type = ma.fields.String(
        validate=ma.validate.Equal(issuance.ISSUED_TOKEN_TYPE),
        metadata={"description": "With the grant type token-exchange"},
    )
    refresh_token = ma.fields.String(
        metadata={"description": "With the grant types authorization_code and refresh_token: for the next token"}
    )


PROOF = {
    "in": "header",
    "name": "DPoP",
    "schema": {"type": "string", "maxLength": dpop.MAX_LENGTH},
    "description": "A proof of a key, to which the token will be bound (RFC 9449 section 5)",
}

QUOTAS = ("RateLimit-Policy", "RateLimit")
"""Response headers that report the enforced quotas and the tokens left in them."""


@blueprint.route(TOKEN_ENDPOINT, methods=["POST"])
@authenticates_client
@blueprint.parameter(PROOF)
@blueprint.response(200, TokenResponseSchema, headers=QUOTAS)
@describe_client_endpoint(TokenRequestSchema, {429: describe_error("OAUTH_RATE_LIMITED", headers=QUOTAS)})
def issue_token() -> Response:
    """Issue an access token to an agent."""
    request, context, app_services = current_request(), current_context(), services()
    at: datetime = context.at
    form = read_form(request)
    check_grant_type(form)
    id_jag_token = id_jag.read(app_services, form)
    is_workload_grant = form["grant_type"] == issuance.JWT_BEARER and id_jag_token is None
    is_exchange = form["grant_type"] == issuance.TOKEN_EXCHANGE
    is_redemption = form["grant_type"] in issuance.REDEEMING
    scopes = read_scopes(form)
    resource = read_resource(form)
    proof = read_dpop_proof(request, at)
    if is_exchange:
        resource = token_exchange.check_form(form, resource)
    elif id_jag_token is not None:
        resource = id_jag.find_resource(id_jag_token, form, app_services.settings.resource)
    if is_redemption:
        code_or_refresh_token = authorization_grant.check_form(form)
        client = authorization_grant.read_client(request, form, code_or_refresh_token, at)
    elif is_workload_grant:
        client = client_authentication.read_client_from_grant(request, form, at)
    else:
        client = client_authentication.read_client(request, form, at)
    if client.new_subject is not None:
        client = first_sight.create_agent(app_services, client, at)
    refuse_flood(client, at)
    # Gets the signing key first, so that a token is counted only if it can be signed.
    signing_key = app_services.keys.current().signing
    database = app_services.database.of(client.organization_id, at)
    grant, subject, refresh_token = None, None, None
    # The statement refuses a client whose assertion was verified by a rule in memory that has been deleted since. Then
    # the assertion is verified again by the stored rules, and the token is issued or refused.
    while grant is None:
        issuance_call = issuance.build_call(
            client, scope=scopes, resource=resource, has_proof=proof is not None, is_counted=True
        )
        try:
            if is_exchange or id_jag_token is not None:
                grant, subject = token_exchange.record_exchange(
                    app_services, database, form, client, issuance_call, proof, id_jag_token
                )
            elif is_redemption:
                redemption = authorization_grant.record_redemption(
                    database, form, code_or_refresh_token, client, issuance_call, proof
                )
                if redemption is not None:
                    grant, subject, resource, refresh_token = redemption
            else:
                grant = issuance.record_issuance(database, client, issuance_call, proof)
        except issuance.AssertionUsed:
            client = replace(client, refusal=client_assertion.USED_BEFORE)
        if grant is None:
            make_error = client_authentication.invalid_grant if is_workload_grant else None
            client = client_authentication.verify_again_or_refuse(request, client, at, make_error)
    app_services.token_rate.count(*client.credential)
    body = issuance.build_token_response(
        app_services,
        signing_key,
        client,
        grant,
        resource=resource,
        at=at,
        jkt=proof.jkt if proof else None,
        ends_at=subject.ends_at if subject else None,
        delegation=subject.delegation if subject else None,
    )
    if is_exchange:
        body["issued_token_type"] = issuance.ISSUED_TOKEN_TYPE
    if refresh_token is not None:
        body["refresh_token"] = refresh_token
    context.organization_id, context.agent_id = client.organization_id, client.agent_id
    return json_response(body, headers=NO_STORE | quota_windows.build_quota_headers(grant.quotas, at, is_issued=True))


def refuse_flood(client: Client, at: datetime) -> None:
    """Raise ``QuotaExhausted`` if this process has issued the agent's maximum number of tokens in this minute."""
    token_rate = services().token_rate
    retry_after_seconds = token_rate.get_seconds_to_wait(*client.credential, at)
    if retry_after_seconds is not None:
        metrics.QUOTAS_EXHAUSTED.labels("process", "minute", "refused").inc()
        context = current_context()
        context.organization_id, context.agent_id = client.organization_id, client.agent_id
        context.quota = "process minute refused"
        raise quota_windows.QuotaExhausted(
            "temporarily_unavailable",
            f"a process of the server issues at most {token_rate.limit} tokens per minute to an agent",
            status=429,
            headers={"Retry-After": str(retry_after_seconds)},
        )


def check_grant_type(form: dict[str, str]) -> None:
    """Raise ``invalid_request`` without a grant type, or ``unsupported_grant_type`` for an unknown type."""
    if "grant_type" not in form:
        raise OAuthError("invalid_request", "grant_type is missing")
    if form["grant_type"] not in issuance.GRANT_TYPES:
        raise OAuthError("unsupported_grant_type", f"grant_type must be one of {', '.join(issuance.GRANT_TYPES)}")


def read_scopes(form: dict[str, str]) -> list[str] | None:
    """Return the requested scopes in their order, or ``None`` for all scopes of the agent (RFC 6749 section 3.3).

    :raises OAuthError: ``invalid_scope`` for characters that a scope cannot have.
    """
    scope = form.get("scope")
    if scope is None:
        return None
    if not _SCOPE.fullmatch(scope):
        raise OAuthError("invalid_scope", "scope has characters or blanks that it must not have")
    return list(dict.fromkeys(scope.split(" ")))


def read_resource(form: dict[str, str]) -> str | None:
    """Return the identifier of the requested resource server, or ``None`` for our own API (RFC 8707 section 2).

    :raises OAuthError: ``invalid_target`` for a wrong identifier, or for the parameter ``audience``, which other
        servers accept. If it were ignored, the client would get a token for another resource.
    """
    if "audience" in form:
        raise OAuthError(
            "invalid_target", "audience is not supported: name the resource server by the parameter resource (RFC 8707)"
        )
    resource = form.get("resource")
    if resource is None or resource == services().settings.resource:
        return None
    if not is_resource_identifier(resource):
        raise OAuthError("invalid_target", "resource must be an absolute URI without fragment")
    return resource


def read_dpop_proof(request: Request, at: datetime) -> dpop.Proof | None:
    """Return the DPoP proof of the key to bind the token to, or ``None`` for a bearer token (RFC 9449 section 5)."""
    unverified_proof = request.environ.get("HTTP_DPOP")
    if unverified_proof is None:
        return None
    request_url = services().settings.issuer + request.path
    try:
        return dpop.verify_proof(unverified_proof, method=request.method, url=request_url, at=at)
    except dpop.ProofRefused as error:
        raise OAuthError("invalid_dpop_proof", str(error)) from None
