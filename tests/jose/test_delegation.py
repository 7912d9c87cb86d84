"""The claims of a token from an exchange are read as they are written, and other claims are refused."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from agentidp.jose.access_token import MAX_ACTORS, MAX_LENGTH, AccessToken, Ancestor, Delegation, TokenRefused
from agentidp.jose.access_token import verify_access_token as verify
from tests.conftest import Cast
from tests.factories import NOON
from tests.helpers.access_token import Forge
from tests.oauth.clients import ISSUER

FIRST, SECOND = uuid.UUID(int=1), uuid.UUID(int=2)
API = "https://api.example"
ANCESTORS = tuple(Ancestor(f"jti {n}", f"{API}/{n}", "a b", API if n else None) for n in range(MAX_ACTORS))


def read(cast: Cast, token: str, audience: str | None = API) -> AccessToken:
    return verify(token, cast.acme.services.keys.find_key, issuer=ISSUER, audience=audience, at=NOON)


@pytest.mark.parametrize("depth", range(1, MAX_ACTORS + 1))
@pytest.mark.parametrize("is_person", [False, True])
def test_what_is_written_is_read(shared_cast: Cast, depth: int, is_person: bool) -> None:
    actors = (shared_cast.acme.agent_id, *(uuid.UUID(int=n) for n in range(1, depth)))
    delegation = Delegation(actors, ANCESTORS[:depth], FIRST)
    if is_person:
        delegation = Delegation(actors, ANCESTORS[: depth - 1], None, ("https://issuer.example", "Ann"), SECOND)
    token = read(shared_cast, shared_cast.acme.token(audience=API, delegation=delegation), None)
    assert token.delegation == delegation
    assert token.subject == delegation.compute_subject(shared_cast.acme.organization_id)


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(claims: dict[str, Any]) -> None:
        inner: Any = claims
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return change


def leave_out(*names: str) -> Callable[[dict[str, Any]], None]:
    return lambda claims: [claims.pop(name) for name in names] and None


AGENT = {
    "act": leave_out("act"),
    "act null": put("act", value=None),
    "act a text": put("act", value="x"),
    "act of another": put("act", "sub", value=str(FIRST)),
    "act with more": put("act", "iss", value=ISSUER),
    "act that ends in null": put("act", "act", "act", value=None),
    "act without sub": put("act", "act", value={}),
    "act of no agent": put("act", "act", "sub", value="them"),
    "act in another spelling": put("act", "act", "sub", value=str(SECOND).upper().replace("-", "")),
    "an actor more": put("act", "act", "act", value={"sub": str(FIRST)}),
    "too many actors": put("act", "act", "act", value={"sub": str(FIRST), "act": {"sub": str(FIRST), "act": {}}}),
    "exchanged_from": leave_out("exchanged_from"),
    "exchanged_from {}": put("exchanged_from", value={}),
    "exchanged_from of one": put("exchanged_from", value=[{"jti": "a", "aud": "b", "scope": "c"}]),
    "an ancestor without scope": put("exchanged_from", 0, value={"jti": "a", "aud": "b"}),
    "an ancestor with more": put("exchanged_from", 0, "exp", value=1),
    "an ancestor with a number": put("exchanged_from", 0, "jti", value=1),
    "an ancestor with a list": put("exchanged_from", 0, "aud", value=["b"]),
    "a resource too few": put("exchanged_resources", value=[API]),
    "a resource with a number": put("exchanged_resources", 0, value=1),
    "resources {}": put("exchanged_resources", value={}),
    "sub of no agent": put("sub", value="them"),
    "sub_id beside an agent": put("sub_id", value={"format": "iss_sub", "iss": "a", "sub": "b"}),
    "a rule beside an agent": put("delegation_rule_id", value=str(FIRST)),
}
PERSON = {
    "sub_id": leave_out("sub_id"),
    "a rule": leave_out("delegation_rule_id"),
    "a rule that is none": put("delegation_rule_id", value="x"),
    "another format": put("sub_id", "format", value="email"),
    "another issuer": put("sub_id", "iss", value="https://other.example"),
    "another subject": put("sub_id", "sub", value="Bob"),
    "a number": put("sub_id", "sub", value=7),
    "more": put("sub_id", "email", value="ann@example.com"),
    "another organization": put("organization_id", value=f"org-{FIRST}"),
    "an agent's sub": put("sub", value=str(FIRST)),
}


@pytest.mark.parametrize(("change", "is_person"), [(name, False) for name in AGENT] + [(name, True) for name in PERSON])
def test_a_delegation_that_is_not_as_we_write_it_is_refused(shared_cast: Cast, change: str, is_person: bool) -> None:
    actors, forge = (shared_cast.acme.agent_id, SECOND), Forge(shared_cast.acme)
    delegation = Delegation(actors, ANCESTORS[:2], FIRST)
    if is_person:
        delegation = Delegation(actors, ANCESTORS[:1], None, ("https://issuer.example", "Ann"), SECOND)
    good = shared_cast.acme.token(audience=API, delegation=delegation)
    claims = copy.deepcopy(jwt.decode(good, options={"verify_signature": False}))
    assert read(shared_cast, forge.sign(forge.header, json.dumps(claims).encode()), None).delegation == delegation
    (PERSON if is_person else AGENT)[change](claims)
    with pytest.raises(TokenRefused):
        read(shared_cast, forge.sign(forge.header, json.dumps(claims).encode()), None)


def test_our_own_api_takes_none_also_if_an_agent_acts_for_itself(shared_cast: Cast) -> None:
    own = shared_cast.acme.services.settings.resource
    for subject in (FIRST, shared_cast.acme.agent_id):
        token = shared_cast.acme.token(delegation=Delegation((shared_cast.acme.agent_id,), ANCESTORS[:1], subject))
        assert read(shared_cast, token, None).audience == own
        with pytest.raises(TokenRefused):
            read(shared_cast, token, own)


def test_the_longest_token_is_verified(shared_cast: Cast) -> None:
    scope = " ".join(f"{n:02}{'x' * 98}" for n in range(50))
    ancestors = (Ancestor("x" * 22, "a" * 500, scope[:4000]),)
    actors = (shared_cast.acme.agent_id,)
    delegation = Delegation(actors, ancestors, FIRST)
    assert not delegation.is_too_long
    token = shared_cast.acme.token(audience=f"https://{'a' * 492}", scope=scope, delegation=delegation)
    assert 12_000 < len(token) <= MAX_LENGTH
    assert read(shared_cast, token, None).delegation == delegation
    assert Delegation(actors, (Ancestor("x" * 22, "a" * 500, scope),), FIRST).is_too_long
    assert Delegation((actors[0],) * (MAX_ACTORS + 1), ANCESTORS, FIRST).is_too_long
