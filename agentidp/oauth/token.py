"""``POST /api/v1/token``: the token endpoint (RFC 6749 sections 3.2, 4.1.3, 4.4, 5 and 6, RFC 7523, RFC 8693).

A token request takes these steps:

1. :func:`issue_token` reads the form. The function for its grant type (``issue_by_…``) identifies the client. If the
   client has sent an assertion, the function also verifies the assertion.
2. :func:`issue_to_client` refuses an agent at the limit per process and minute (``services/token_rate.py``). It passes
   the client and the function of the grant type (``count_token_…``) to
   :func:`agentidp.oauth.client_authentication.authenticate`, which refuses a client that is not authentic.
3. ``count_token_…`` builds the call of the grant type's statement. :func:`agentidp.oauth.issuance.record_issuance` runs
   the statement, which authenticates the client, grants the scope and counts the token in one transaction.
4. :func:`agentidp.oauth.issuance.check_issuance` reads the row, or raises the error for an authentic client.
5. :func:`agentidp.oauth.issuance.build_token_response` signs the token.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial

import marshmallow as ma
from flask import Request, Response

from agentidp import metrics
from agentidp.config import Settings
from agentidp.db.organization import OrganizationDatabase
from agentidp.federation.issuer_tokens import IssuerToken
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
    client_authentication,
    first_sight,
    id_jag,
    issuance,
    quota_windows,
    token_exchange,
)
from agentidp.oauth.client import Client
from agentidp.oauth.client_authentication import authenticates_client
from agentidp.oauth.client_form import (
    NO_STORE,
    ClientFormSchema,
    describe_client_endpoint,
    describe_parameter,
    read_form,
)
from agentidp.oauth.issuance import CountedToken, TokenRequest
from agentidp.paths import TOKEN_ENDPOINT
from agentidp.services import services

_SCOPE = re.compile(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*")

blueprint = Blueprint("oauth-token", __name__, description="OAuth 2.0 token endpoint")


_IS_ACCESS_TOKEN = ma.validate.OneOf([issuance.ISSUED_TOKEN_TYPE, ""])


class TokenRequestSchema(ClientFormSchema):
    """The form of a token request (RFC 6749, 7523, 7636, 8693)."""

    grant_type = ma.fields.String(required=True, validate=ma.validate.OneOf(issuance.GRANT_TYPES))
    assertion = describe_parameter(
        "With the grant type jwt-bearer: a token of another issuer, or an ID-JAG",
        ma.validate.Length(max=MAX_ASSERTION_LENGTH),
    )
    scope = describe_parameter(
        "Space-separated. Default: all scopes of the agent", ma.validate.Regexp(f"(?:{_SCOPE.pattern})?")
    )
    resource = describe_parameter(
        "The resource server that the token is for (RFC 8707). Default: our own API. "
        "Required with the grant type token-exchange",
        ma.validate.Regexp(f"{RESOURCE_IDENTIFIER}?"),
        ma.validate.Length(max=MAX_RESOURCE_LENGTH),
    )
    subject_token = describe_parameter(
        "With the grant type token-exchange: a token of the subject for whom the agent acts",
        ma.validate.Length(max=MAX_LENGTH),
    )
    subject_token_type = describe_parameter(
        "`access_token` is for a token of this server, the others for another issuer's",
        ma.validate.OneOf([*token_exchange.TYPES, ""]),
    )
    actor_token = describe_parameter(
        "An access token of the agent. The agent is the actor even without this token",
        ma.validate.Length(max=MAX_LENGTH),
    )
    actor_token_type = ma.fields.String(validate=_IS_ACCESS_TOKEN)
    requested_token_type = ma.fields.String(validate=_IS_ACCESS_TOKEN)
    code = describe_parameter("With the grant type authorization_code")
    code_verifier = describe_parameter(
        "With the grant type authorization_code: the secret of its code_challenge (RFC 7636)"
    )
    redirect_uri = describe_parameter("Optional. Must equal the redirect_uri of the authorization request")
    refresh_token = describe_parameter("With the grant type refresh_token")


class TokenResponseSchema(ma.Schema):
    """The response with a token (RFC 6749 section 5.1, RFC 8693 section 2.2.1)."""

    access_token = ma.fields.String(required=True)
    token_type = ma.fields.String(required=True, validate=ma.validate.OneOf(["Bearer", "DPoP"]))
    expires_in = ma.fields.Integer(required=True, validate=ma.validate.Range(1), metadata={"description": "Seconds"})
    scope = ma.fields.String(validate=ma.validate.Regexp(_SCOPE))
    issued_token_type = describe_parameter(
        "With the grant type token-exchange", ma.validate.Equal(issuance.ISSUED_TOKEN_TYPE)
    )
    refresh_token = describe_parameter("With the grant types authorization_code and refresh_token: for the next token")


PROOF_HEADER = {
    "in": "header",
    "name": "DPoP",
    "schema": {"type": "string", "maxLength": dpop.MAX_LENGTH},
    "description": "A proof of a key, to which the token will be bound (RFC 9449 section 5)",
}

QUOTA_HEADERS = ("RateLimit-Policy", "RateLimit")
"""Response headers that report the enforced quotas and the tokens left in them."""


@blueprint.route(TOKEN_ENDPOINT, methods=["POST"])
@authenticates_client
@blueprint.parameter(PROOF_HEADER)
@blueprint.response(200, TokenResponseSchema, headers=QUOTA_HEADERS)
@describe_client_endpoint(TokenRequestSchema, {429: describe_error("OAUTH_RATE_LIMITED", headers=QUOTA_HEADERS)})
def issue_token() -> Response:
    """Issue an access token to an agent."""
    request, at, app_services = current_request(), current_context().at, services()
    form = read_form(request)
    issue_by_grant_type = choose_grant_type(form)
    scope, resource = read_scopes(form), read_resource(form, app_services.settings)
    proof = read_dpop_proof(request, app_services.settings.issuer, at)
    token_request = TokenRequest(app_services, request, form, at, scope, resource, proof)
    return issue_by_grant_type(token_request)


def choose_grant_type(form: dict[str, str]) -> Callable[[TokenRequest], Response]:
    """Return the function that issues a token by the grant type in a form."""
    match form.get("grant_type"):
        case issuance.CLIENT_CREDENTIALS:
            return issue_by_client_credentials
        case issuance.JWT_BEARER:
            return issue_by_assertion
        case issuance.TOKEN_EXCHANGE:
            return issue_by_exchange
        case issuance.AUTHORIZATION_CODE | issuance.REFRESH_TOKEN:
            return issue_by_code_or_refresh_token
        case None:
            raise OAuthError("invalid_request", "grant_type is missing")
    raise OAuthError("unsupported_grant_type", f"grant_type must be one of {', '.join(issuance.GRANT_TYPES)}")


def issue_by_client_credentials(token_request: TokenRequest) -> Response:
    """Issue a token to a client that authenticates itself (RFC 6749 section 4.4)."""
    client = client_authentication.identify_client(token_request.http_request, token_request.form, token_request.at)
    return issue_to_client(token_request, client, issuance.count_token_for_client)


def issue_by_assertion(token_request: TokenRequest) -> Response:
    """Issue a token for the other issuer's token in the form, which is an ID-JAG or a workload's token."""
    assertion = token_request.form.get("assertion", "")
    id_jag_token = token_request.services.issuer_tokens.read_token(assertion, types=(id_jag.TYPE,))
    if id_jag_token is not None:
        return issue_by_id_jag(token_request, id_jag_token)
    return issue_by_workload_token(token_request)


def issue_by_workload_token(token_request: TokenRequest) -> Response:
    """Issue a token to the agent whose rule trusts the token in the form (RFC 7523 section 2.1)."""
    http_request, form, at = token_request.http_request, token_request.form, token_request.at
    try:
        client = client_authentication.identify_client_by_assertion(http_request, form, at)
        return issue_to_client(token_request, client, issuance.count_token_for_client)
    except OAuthError as error:
        if error.error == "invalid_client":
            raise client_authentication.invalid_grant(error.description) from None
        raise


def issue_by_id_jag(token_request: TokenRequest, id_jag_token: IssuerToken) -> Response:
    """Issue a token by which a client acts for the person in an ID-JAG (identity assertion JWT authorization grant)."""
    form, own_resource = token_request.form, token_request.services.settings.resource
    token_request = token_request._replace(resource=id_jag.find_resource(id_jag_token, form, own_resource))
    client = client_authentication.identify_client(token_request.http_request, form, token_request.at)
    return issue_to_client(token_request, client, partial(id_jag.count_token_by_id_jag, id_jag_token))


def issue_by_exchange(token_request: TokenRequest) -> Response:
    """Issue a token by which a client acts for the subject of the token in the form (RFC 8693)."""
    token_exchange.check_form(token_request.form, token_request.resource)
    client = client_authentication.identify_client(token_request.http_request, token_request.form, token_request.at)
    return issue_to_client(token_request, client, token_exchange.count_token_by_exchange)


def issue_by_code_or_refresh_token(token_request: TokenRequest) -> Response:
    """Issue a token for a code or refresh token of a person's grant (RFC 6749 sections 4.1.3 and 6)."""
    http_request, form, at = token_request.http_request, token_request.form, token_request.at
    code_or_refresh_token = authorization_grant.check_form(form)
    client = authorization_grant.identify_client(http_request, form, code_or_refresh_token, at)
    count_token = partial(authorization_grant.count_token_by_grant, code_or_refresh_token)
    return issue_to_client(token_request, client, count_token)


def issue_to_client(
    token_request: TokenRequest,
    client: Client,
    count_token: Callable[[TokenRequest, OrganizationDatabase, Client], CountedToken | None],
) -> Response:
    """Count a token for a client, sign the token, and return the response.

    :param count_token: authenticates the client and counts the token, in one transaction. Returns ``None`` if
        authentication failed.
    """
    app_services, http_request, at = token_request.services, token_request.http_request, token_request.at
    if client.new_subject is not None:
        # If no agent can be created, the client has a refusal, and the statement below authenticates nobody (see the
        # class Client).
        client = first_sight.create_agent(app_services, client, *client.new_subject, at)
    seconds_to_wait = app_services.token_rate.get_seconds_to_wait(*client.credential, at)
    if seconds_to_wait is not None:
        raise report_flood(client, app_services.token_rate.limit, seconds_to_wait)
    # The signing key is read first, so that a token is counted only if it can be signed.
    signing_key = app_services.keys.current().signing
    database = app_services.database.of(client.organization_id, at)
    # One statement authenticates the client and counts the token, so authenticate() gets the function that runs it.
    run_client_statement = partial(count_token, token_request, database)
    client, counted_token = client_authentication.authenticate(http_request, client, at, run_client_statement)
    app_services.token_rate.count(*client.credential)
    jkt = token_request.proof.jkt if token_request.proof else None
    response_body = issuance.build_token_response(app_services, signing_key, client, counted_token, at=at, jkt=jkt)
    request_context = current_context()
    request_context.organization_id, request_context.agent_id = client.organization_id, client.agent_id
    quota_headers = quota_windows.build_quota_headers(counted_token.quotas, at, is_issued=True)
    return json_response(response_body, headers=NO_STORE | quota_headers)


def report_flood(client: Client, limit: int, seconds_to_wait: int) -> quota_windows.QuotaExhausted:
    """Count a token that the limit per process, agent and minute refuses, and return the error for the client."""
    metrics.QUOTAS_EXHAUSTED.labels("process", "minute", "refused").inc()
    context = current_context()
    context.organization_id, context.agent_id = client.organization_id, client.agent_id
    context.quota = "process minute refused"
    return quota_windows.QuotaExhausted(
        "temporarily_unavailable",
        f"a process of the server issues at most {limit} tokens per minute to an agent",
        status=429,
        headers={"Retry-After": str(seconds_to_wait)},
    )


def read_scopes(form: dict[str, str]) -> list[str] | None:
    """Return the requested scopes, or ``None`` for all scopes of the agent (RFC 6749 section 3.3)."""
    scope = form.get("scope")
    if scope is None:
        return None
    if not _SCOPE.fullmatch(scope):
        raise OAuthError("invalid_scope", "scope has characters or blanks that it must not have")
    return list(dict.fromkeys(scope.split(" ")))


def read_resource(form: dict[str, str], settings: Settings) -> str | None:
    """Return the identifier of the requested resource server, or ``None`` for our own API (RFC 8707 section 2)."""
    # Other servers accept this parameter. If it were ignored, the client would get a token for another resource.
    if "audience" in form:
        raise OAuthError(
            "invalid_target", "audience is not supported: name the resource server by the parameter resource (RFC 8707)"
        )
    resource = form.get("resource")
    if resource is None or resource == settings.resource:
        return None
    if not is_resource_identifier(resource):
        raise OAuthError("invalid_target", "resource must be an absolute URI without fragment")
    return resource


def read_dpop_proof(request: Request, issuer: str, at: datetime) -> dpop.Proof | None:
    """Return the DPoP proof of the key to bind the token to, or ``None`` for a bearer token (RFC 9449 section 5)."""
    unverified_proof = request.environ.get("HTTP_DPOP")
    if unverified_proof is None:
        return None
    try:
        return dpop.verify_proof(unverified_proof, method=request.method, url=issuer + request.path, at=at)
    except dpop.ProofRefused as error:
        raise OAuthError("invalid_dpop_proof", str(error)) from None
