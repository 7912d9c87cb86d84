"""The authorization server's metadata is whole, the same at both addresses, and passes the validators of a library."""

from __future__ import annotations

from typing import Any

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from flask.testing import FlaskClient

from agentidp.jose.signing_keys import JWKS_MAX_AGE

ISSUER = "http://localhost:3000"
OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


def served(client: FlaskClient, path: str) -> dict[str, Any]:
    response = client.get(path)
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.headers["Cache-Control"] == f"public, max-age={JWKS_MAX_AGE}"
    body: dict[str, Any] = response.json
    return body


def test_openid_configuration_is_the_same_and_what_openid_connect_requires_besides(shared_client: FlaskClient) -> None:
    assert served(shared_client, OPENID) == served(shared_client, OAUTH) | {
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "RS256"],
        "claims_supported": [
            *("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "organization_id", "scope", "resource", "cnf"),
        ],
    }


def test_announces_the_protections_that_clients_must_check(shared_client: FlaskClient) -> None:
    metadata = served(shared_client, OAUTH)
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["response_modes_supported"] == ["query"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert metadata["client_id_metadata_document_supported"] is True
    assert metadata["authorization_grant_profiles_supported"] == ["urn:ietf:params:oauth:grant-profile:id-jag"]


@pytest.mark.parametrize(
    ("path", "kind"), [(OAUTH, AuthorizationServerMetadata), (OPENID, OpenIDProviderMetadata)], ids=["oauth", "openid"]
)
def test_passes_authlibs_validators(shared_client: FlaskClient, path: str, kind: type[Any]) -> None:
    # Authlib wants https of every address, and the tests' issuer is localhost.
    def secure(value: Any) -> Any:
        if isinstance(value, list):
            return [secure(item) for item in value]
        return value.replace("http://", "https://") if isinstance(value, str) else value

    metadata = kind({name: secure(value) for name, value in served(shared_client, path).items()})
    metadata.validate()
    assert metadata["issuer"] == ISSUER.replace("http://", "https://")
