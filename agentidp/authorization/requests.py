"""Read authorization requests (RFC 6749 section 4.1.1, RFC 7636, RFC 8707, RFC 9449 section 10).

Until the client and its redirect URI are known, an error is shown as a page. Later errors are sent to the redirect URI,
but only after the person has signed in, so that nobody can lead strangers elsewhere by this server (RFC 9700 section
4.11.2).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

from agentidp.counting import UNKNOWN_AGENT, UNKNOWN_ORGANIZATION
from agentidp.http.errors import OAuthError, ValidationError
from agentidp.http.redirect_uri import is_redirect_uri, is_registered
from agentidp.http.resource_identifier import is_resource_identifier
from agentidp.oauth.authorization_grant import OFFLINE_ACCESS
from agentidp.oauth.client_authentication import look_up_public_client
from agentidp.oauth.client_document import host_of, is_client_uri
from agentidp.oauth.token import read_scopes
from agentidp.services import services

MAX_QUERY = 2_000
"""Maximum number of characters of an authorization request. A cookie contains the request while the person signs in.
The redirect to the app must fit into the buffer in ``deploy/nginx.conf``, although URL encoding triples characters."""

_NOT_REGISTERED = (
    "This app is not registered here with the address to which it wants to send you. Nothing was sent to the app. "
    "Ask whoever gave you the app."
)

_SHA_256 = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request to the authorization endpoint.

    :param parameters: the parameters that have exactly one value, by name, except ``client_id`` and ``redirect_uri``.
    :param repeated: the names of the repeated parameters.
    :param client_uri: the ``client_id`` if it is the URL of a client ID metadata document, otherwise ``None``.
    """

    organization_id: str
    agent_id: UUID
    redirect_uri: str
    parameters: dict[str, str]
    repeated: frozenset[str]
    client_uri: str | None = None

    @property
    def client_host(self) -> str | None:
        """The host by which people recognize an app with a client ID metadata document; ``None`` for other apps."""
        return None if self.client_uri is None else host_of(self.client_uri)

    @property
    def resource(self) -> str:
        """The identifier of the requested resource server; empty if the request has none."""
        return self.parameters.get("resource", "")

    @property
    def scopes(self) -> list[str] | None:
        """The requested scopes without ``offline_access``. ``None`` requests all scopes."""
        scopes = read_scopes(self.parameters) or []
        return [scope for scope in scopes if scope != OFFLINE_ACCESS] or None

    @property
    def destination(self) -> str:
        """The program that will receive the code, in words for people."""
        url = urlsplit(self.redirect_uri)
        if url.scheme == "http":
            return f"a program on this computer ({url.hostname})"
        return str(url.hostname) if url.scheme == "https" else f"the app that opens {url.scheme}: links"

    def build_redirect(self, **response_parameters: str) -> str:
        """Return the redirect URI with the parameters of a response, including ``state`` and ``iss`` (RFC 9207)."""
        state_parameter = {"state": self.parameters["state"]} if "state" in self.parameters else {}
        query_string = urlencode(response_parameters | state_parameter | {"iss": services().settings.issuer})
        return f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{query_string}"

    def check_parameters(self) -> None:
        """Check the parameters that do not depend on the person, or raise an error of RFC 6749 section 4.1.2.1."""
        parameters = self.parameters
        if "resource" in self.repeated:
            raise OAuthError("invalid_target", "resource must name one resource server only")
        if self.repeated:
            raise OAuthError("invalid_request", "a parameter is repeated")
        for parameter_name in ("request", "request_uri"):
            if parameter_name in parameters:
                raise OAuthError(f"{parameter_name}_not_supported", f"{parameter_name} is not supported")
        if parameters.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code")
        if parameters.get("response_mode", "query") != "query":
            raise OAuthError("invalid_request", "response_mode must be query")
        if "none" in parameters.get("prompt", "").split():
            raise OAuthError("consent_required", "the person is always asked")
        if parameters.get("code_challenge_method") != "S256":
            raise OAuthError("invalid_request", "code_challenge_method must be S256")
        if not _SHA_256.fullmatch(parameters.get("code_challenge", "")):
            raise OAuthError("invalid_request", "code_challenge must be a SHA-256 in base64url")
        if not _SHA_256.fullmatch(parameters.get("dpop_jkt", "A" * 43)):
            raise OAuthError("invalid_request", "dpop_jkt must be a SHA-256 in base64url")
        if not is_resource_identifier(self.resource):
            raise OAuthError("invalid_target", "resource must name a resource server of the organization")
        read_scopes(parameters)


def read_request(query: str, at: datetime) -> AuthorizationRequest:
    """Return the authorization request in a query string, or raise ``ValidationError`` if the client is not registered.

    For an app with a client ID metadata document, only the form of the client ID and of the redirect URI is checked.
    """
    # The limit is for the JSON in the cookie, in which one character of the query can take six.
    if len(json.dumps(query)) > MAX_QUERY + len('""') or not query.isascii():
        raise ValidationError(
            f"The app has sent a request with more than {MAX_QUERY} characters, or with characters that are not ASCII."
        )
    parameters, repeated_names = _read_parameters(query)
    client_id, redirect_uri = (parameters.pop(parameter_name, None) for parameter_name in ("client_id", "redirect_uri"))
    if client_id is None or redirect_uri is None:
        raise ValidationError("The request of the app must contain client_id and redirect_uri exactly once.")
    if is_client_uri(client_id) and is_redirect_uri(redirect_uri):
        return AuthorizationRequest(
            UNKNOWN_ORGANIZATION, UNKNOWN_AGENT, redirect_uri, parameters, repeated_names, client_uri=client_id
        )
    client = look_up_public_client(client_id)
    agent_rows = services().database.of(client.organization_id, at).fetch("agents/get_agent", agent_id=client.agent_id)
    # The agent of an app with a client ID metadata document is refused: the app must send its URI, so that its current
    # document is read.
    check_registration([agent_row for agent_row in agent_rows if agent_row.client_uri is None], redirect_uri)
    return AuthorizationRequest(client.organization_id, client.agent_id, redirect_uri, parameters, repeated_names)


def _read_parameters(query: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return the parameters that are neither empty nor repeated, and the names of the repeated parameters."""
    name_value_pairs = parse_qsl(query, keep_blank_values=True)
    value_counts = Counter(parameter_name for parameter_name, _ in name_value_pairs)
    repeated_names = frozenset(parameter_name for parameter_name, count in value_counts.items() if count > 1)
    return {
        parameter_name: parameter_value
        for parameter_name, parameter_value in name_value_pairs
        if parameter_value and parameter_name not in repeated_names
    }, repeated_names


def check_registration(agent_rows: Sequence[Any], redirect_uri: str) -> None:
    """Raise ``ValidationError`` if there is no row of an agent, or if the agent has no such redirect URI."""
    if not agent_rows or not is_registered(redirect_uri, agent_rows[0].redirect_uris):
        raise ValidationError(_NOT_REGISTERED)


def find_organization_id(requested: AuthorizationRequest) -> str | None:
    """Return the organization at whose provider the person signs in, or ``None`` if it is unknown."""
    if requested.client_uri is None:
        return requested.organization_id
    if not is_resource_identifier(requested.resource):
        return None
    # An app with a client ID metadata document belongs to no organization, so the organization of the resource is used.
    [resource_row] = services().database.fetch_unscoped("openid/resource_organization", resource=requested.resource)
    return resource_row.organization_id  # type: ignore[no-any-return]
