"""Whatever is forged, expired, revoked or bound is refused on every route and inactive at introspection."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.jose.access_token import LEEWAY
from tests.conftest import Cast
from tests.factories import NOON
from tests.jose.test_access_token import CHALLENGE, FORGED, Forge, encoded
from tests.oauth.test_introspection import INACTIVE, introspect
from tests.oauth.test_revocation import revoke
from tests.routes import INVALID_TOKEN, PROTECTED

P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of the curve's group (SEC 2 section 2.4.2)."""


def decoded(part: str) -> bytes:
    """From base64url without padding."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def mirrored(token: str) -> str:
    """The same token with the other signature that ECDSA has for it: s becomes n - s."""
    signed, _, signature = token.rpartition(".")
    r, s = decoded(signature)[:32], int.from_bytes(decoded(signature)[32:])
    return f"{signed}.{encoded(r + (P256 - s).to_bytes(32))}"


@pytest.fixture(scope="module")
def forge(shared_cast: Cast) -> Forge:
    """For tokens of Acme's agent."""
    return Forge(shared_cast.acme)


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """Something that listens, and to which nothing must ever connect."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def assert_is_refused_everywhere(client: FlaskClient, token: str, cast: Cast) -> None:
    """401 ``invalid_token`` on every protected route, and inactive for its own organization and another."""
    for route in PROTECTED:
        response = client.open(
            route.path(), method=route.method, json=route.body, headers={"Authorization": f"Bearer {token}"}
        )
        assert (response.status_code, response.json) == (401, INVALID_TOKEN), str(route)
        assert response.headers["WWW-Authenticate"] == CHALLENGE
    assert_is_inactive(client, token, cast)


def assert_is_inactive(client: FlaskClient, token: str, cast: Cast) -> None:
    """At introspection, exactly."""
    for asker in (cast.acme, cast.outsider):
        response = introspect(client, asker, token)
        assert (response.status_code, response.json) == (200, INACTIVE)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token(shared_client: FlaskClient, shared_cast: Cast, forge: Forge, name: str) -> None:
    assert_is_refused_everywhere(shared_client, FORGED[name](forge), shared_cast)


FETCHED: dict[str, Callable[[Forge, str], str]] = {
    "jku": lambda f, url: f.by_another_key(jku=url),
    "jku and its kid": lambda f, url: f.by_another_key(jku=url, kid="theirs"),
    "x5u": lambda f, url: f.by_another_key(x5u=url),
    "kid that is an address": lambda f, url: f.by_another_key(kid=url),
    "iss that is an address": lambda f, url: f.with_claims(iss=url),
    "all at once, by our own key under another kid": lambda f, url: f.with_header(jku=url, x5u=url, kid=url),
}


@pytest.mark.parametrize("name", FETCHED)
def test_nothing_is_fetched_for_a_forged_token(
    shared_client: FlaskClient, shared_cast: Cast, forge: Forge, listener: socket.socket, name: str
) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json"
    assert_is_refused_everywhere(shared_client, FETCHED[name](forge, url), shared_cast)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_the_listener_would_notice(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        listener.accept()[0].close()
        listener.setblocking(False)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"at": NOON - timedelta(seconds=3600 + LEEWAY)}, id="expired"),
        pytest.param({"at": NOON + timedelta(seconds=LEEWAY + 1)}, id="not yet valid"),
        pytest.param({"issuer": "https://evil.example"}, id="another issuer's"),
        pytest.param({"audience": "https://evil.example"}, id="for nobody we know"),
    ],
)
def test_a_token_of_ours_that_is_not_good(
    shared_client: FlaskClient, shared_cast: Cast, changes: dict[str, object]
) -> None:
    assert_is_refused_everywhere(shared_client, shared_cast.acme.token(**changes), shared_cast)


def test_an_agent_in_another_organization(shared_client: FlaskClient, shared_cast: Cast) -> None:
    acme, outsider = shared_cast.acme, shared_cast.outsider
    token = acme.token(organization_id=outsider.organization_id)
    assert_is_refused_everywhere(shared_client, token, shared_cast)


def test_another_spelling_of_a_token_is_the_same_token(shared_client: FlaskClient, shared_cast: Cast) -> None:
    # That is why a token is revoked by its jti and not by a digest of its text.
    token = shared_cast.acme.token()
    assert mirrored(token) != token
    assert introspect(shared_client, shared_cast.acme, mirrored(token)).json["active"] is True


def test_a_revoked_token_in_either_spelling(shared_client: FlaskClient, shared_cast: Cast) -> None:
    token = shared_cast.acme.token()
    assert introspect(shared_client, shared_cast.acme, token).json["active"] is True
    assert revoke(shared_client, shared_cast.acme, mirrored(token)).status_code == 200
    for spelling in (token, mirrored(token)):
        assert_is_refused_everywhere(shared_client, spelling, shared_cast)


def test_a_token_that_is_bound_to_a_key_is_no_bearer_token(shared_client: FlaskClient, shared_cast: Cast) -> None:
    token = shared_cast.acme.token(jkt="a-thumbprint")
    for route in PROTECTED:
        response = shared_client.open(
            route.path(), method=route.method, json=route.body, headers={"Authorization": f"Bearer {token}"}
        )
        assert (response.status_code, response.json) == (401, INVALID_TOKEN), str(route)
    # What it is bound to is for the resource server to check: introspection tells it the key.
    assert introspect(shared_client, shared_cast.acme, token).json["cnf"] == {"jkt": "a-thumbprint"}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param('{"exp":9999999999,"exp":1,%s}', id="the last one expired"),
        pytest.param(
            '{"exp":9999999999,"aud":"https://evil.example",%s,"aud":["http://localhost:3000/api/v1"]}', id="aud"
        ),
    ],
)
def test_a_claim_that_comes_twice(shared_client: FlaskClient, shared_cast: Cast, forge: Forge, payload: str) -> None:
    rest = {name: value for name, value in forge.claims.items() if name not in ("exp", "aud")}
    if '"aud"' not in payload:
        rest["aud"] = forge.claims["aud"]
    token = forge.sign(forge.header, (payload % json.dumps(rest)[1:-1]).encode())
    assert_is_refused_everywhere(shared_client, token, shared_cast)
