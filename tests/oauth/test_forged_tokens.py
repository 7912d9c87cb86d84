"""Whatever is forged, expired, revoked or bound is refused on every route and inactive at introspection."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.jose.access_token import LEEWAY
from tests.conftest import Cast
from tests.factories import NOON
from tests.helpers.access_token import CHALLENGE, Forge, encoded
from tests.helpers.introspection import INACTIVE, introspect
from tests.helpers.revocation import revoke
from tests.routes import INVALID_TOKEN, PROTECTED, REVOKED_TOKEN

P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of the curve's group (SEC 2 section 2.4.2)."""


def decoded(part: str) -> bytes:
    """Return the bytes of base64url text without padding."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def mirrored(token: str) -> str:
    """Return the same token with the second valid ECDSA signature: s becomes n - s."""
    signed, _, signature = token.rpartition(".")
    r, s = decoded(signature)[:32], int.from_bytes(decoded(signature)[32:])
    return f"{signed}.{encoded(r + (P256 - s).to_bytes(32))}"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket to which nothing must connect."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening
        # It would notice.
        with socket.create_connection(listening.getsockname()):
            listening.setblocking(True)
            listening.accept()[0].close()


def assert_is_inactive(client: FlaskClient, cast: Cast, token: str) -> None:
    """Fail unless introspection finds the token inactive, for its own organization and for another."""
    for asker in (cast.acme, cast.outsider):
        assert introspect(client, asker, token).json == INACTIVE


def assert_is_refused_everywhere(
    client: FlaskClient, cast: Cast, token: str, message: str = INVALID_TOKEN["message"]
) -> None:
    """Assert that every protected route responds with 401 ``invalid_token`` and a message that begins like this."""
    for route in PROTECTED:
        headers = {"Authorization": f"Bearer {token}"}
        response = client.open(route.path(cast.acme.agent_id), method=route.method, json=route.body, headers=headers)
        text = response.json["message"]
        assert (response.status_code, response.json) == (401, INVALID_TOKEN | {"message": text}), str(route)
        assert text.startswith(message)
        challenge = CHALLENGE.replace(INVALID_TOKEN["message"], text)
        assert response.headers["WWW-Authenticate"].replace("api/v1/mcp", "api/v1") == challenge


@pytest.mark.parametrize(
    "header", [{"jku": "URL"}, {"jku": "URL", "kid": "theirs"}, {"x5u": "URL"}, {"kid": "URL"}], ids=str
)
def test_nothing_is_fetched_for_a_forged_token(
    shared_client: FlaskClient, shared_cast: Cast, listener: socket.socket, header: dict[str, str]
) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json"
    forge, header = Forge(shared_cast.acme), {name: value.replace("URL", url) for name, value in header.items()}
    for token in (
        forge.by_another_key(**header),
        forge.with_header(jku=url, x5u=url, kid=url),
        forge.with_claims(iss=url),
    ):
        headers = {"Authorization": f"Bearer {token}"}
        response = shared_client.get("/api/v1/agents", headers=headers)
        assert (response.status_code, response.json) == (401, INVALID_TOKEN)
        assert_is_inactive(shared_client, shared_cast, token)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_forged_token_and_one_for_somebody_else_are_refused_everywhere(
    shared_client: FlaskClient, shared_cast: Cast
) -> None:
    acme, outsider = shared_cast.acme, shared_cast.outsider
    for token, message in (
        (Forge(acme).unsigned("none"), INVALID_TOKEN["message"]),
        (acme.token(at=NOON - timedelta(seconds=3600 + LEEWAY)), "The access token expired at"),
        (acme.token(audience="https://evil.example"), "The access token is for https://evil.example, not for"),
        (acme.token(organization_id=outsider.organization_id), REVOKED_TOKEN["message"]),
    ):
        assert_is_refused_everywhere(shared_client, shared_cast, token, message)
        assert_is_inactive(shared_client, shared_cast, token)
    # What a token is bound to is for the resource server to check: introspection tells it the key.
    assert_is_refused_everywhere(shared_client, shared_cast, acme.token(jkt="x"), "The access token is bound")


def test_another_spelling_of_a_token_is_the_same_token_and_revoked_with_it(
    shared_client: FlaskClient, shared_cast: Cast
) -> None:
    """Therefore a token is revoked by its jti, and not by a digest of its text."""
    token = shared_cast.acme.token()
    assert mirrored(token) != token
    assert introspect(shared_client, shared_cast.acme, mirrored(token)).json["active"] is True
    assert revoke(shared_client, shared_cast.acme, mirrored(token)).status_code == 200
    for spelling in (token, mirrored(token)):
        assert_is_refused_everywhere(shared_client, shared_cast, spelling, REVOKED_TOKEN["message"])
        assert_is_inactive(shared_client, shared_cast, spelling)
