"""What the claims of an ID token say about a person."""

from __future__ import annotations

from typing import Any

import pytest

from agentidp.config.oidc import OidcSettings
from agentidp.http.schemas import MAX_NAME
from agentidp.openid import claims as person_claims
from agentidp.openid.claims import NoAccess

ACME, OTHER = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789", "org-1a1b2c3d-e4f5-6789-abcd-ef0123456789"


def settings(**changes: Any) -> OidcSettings:
    """Return settings of a provider with *changes*."""
    return OidcSettings(issuer="https://sso.example", client_id="c", client_secret="s", **changes)


@pytest.mark.parametrize(
    ("name", "claims", "values"),
    [
        ("roles", {"roles": "one"}, {"one"}),
        ("roles", {"roles": ["one", "two", 3, None, ["four"], True]}, {"one", "two"}),
        ("roles", {}, set()),
        ("roles", {"roles": {"one": 1}}, set()),
        ("roles", {"roles": ["*"]}, set()),
        ("realm_access.roles", {"realm_access": {"roles": ["one"]}}, {"one"}),
        ("realm_access.roles", {"realm_access": ["roles"]}, set()),
        ("realm_access.roles", {"realm_access.roles": "whole", "realm_access": {"roles": "inside"}}, {"whole"}),
        ("https://acme.example/roles", {"https://acme.example/roles": ["one"]}, {"one"}),
        ("email", {"email": "a@acme.example"}, set()),
        ("email", {"email": "a@acme.example", "email_verified": True}, {"a@acme.example"}),
        ("email", {"email": "a@acme.example", "email_verified": False}, set()),
        ("email", {"email": "a@acme.example", "email_verified": "false"}, set()),
        ("email", {"email": "a@acme.example", "email_verified": "true"}, set()),
        ("email", {"email": "a@acme.example", "email_verified": 1}, set()),
        ("email", {"email": "a@acme.example", "email_verified": None}, set()),
        (None, {"roles": "one"}, set()),
    ],
)
def test_values(name: str | None, claims: dict[str, Any], values: set[str]) -> None:
    assert person_claims.read_strings(claims, name) == values


ANNA, MALLORY = "anna@acme.example", "mallory@elsewhere.example"


@pytest.mark.parametrize(
    ("of_token", "of_userinfo", "address"),
    [
        ({"email": ANNA}, {"email": ANNA, "email_verified": True}, ANNA),
        ({}, {"email": ANNA, "email_verified": True}, ANNA),
        ({"email": ANNA, "email_verified": True}, {}, ANNA),
        ({"email": ANNA, "email_verified": True}, {"email": MALLORY, "email_verified": False}, ANNA),
        ({"email": ANNA}, {}, None),
        # Each says of its own address only whether it is verified.
        ({"email": ANNA}, {"email": MALLORY, "email_verified": True}, None),
        ({"email": ANNA}, {"email_verified": True}, None),
        ({"email_verified": True}, {"email": ANNA}, None),
        ({"email": ANNA, "email_verified": False}, {"email": ANNA, "email_verified": True}, None),
    ],
)
def test_an_address_and_its_verification_have_one_source(
    of_token: dict[str, Any], of_userinfo: dict[str, Any], address: str | None
) -> None:
    claims = person_claims.merge_claims(of_token, of_userinfo)
    assert person_claims.read_strings(claims, "email") == ({address} if address else set())


@pytest.mark.parametrize(
    ("value", "mapped", "organization"),
    [
        (ACME, {}, ACME),
        ([ACME, "staff"], {}, ACME),
        ("acme", {"acme": ACME}, ACME),
        (["acme", "also acme"], {"acme": ACME, "also acme": ACME}, ACME),
        ("acme", {"acme": ACME, "*": OTHER}, ACME),
        ("unknown", {"acme": ACME, "*": OTHER}, OTHER),
        (None, {"*": OTHER}, OTHER),
        # Where values are mapped, an ID is a value like any other.
        (ACME, {"acme": OTHER}, None),
        ("acme", {}, None),
        ([ACME, OTHER], {}, None),
        (["acme", "other"], {"acme": ACME, "other": OTHER}, None),
        ("*", {"acme": ACME}, None),
    ],
)
def test_organizations(value: Any, mapped: dict[str, str], organization: str | None) -> None:
    known = settings(organization_claim="org", organizations=mapped)
    if organization is None:
        with pytest.raises(NoAccess):
            person_claims.read_organization_id({"org": value}, known)
    else:
        assert person_claims.read_organization_id({"org": value}, known) == organization


@pytest.mark.parametrize(
    ("value", "administrators", "viewers", "role"),
    [
        ("keeper", {"keeper"}, {"watcher"}, "administrator"),
        ("watcher", {"keeper"}, {"watcher"}, "viewer"),
        (["watcher", "keeper"], {"keeper"}, {"watcher"}, "administrator"),
        (None, {"keeper"}, {"*"}, "viewer"),
        ("keeper", {"keeper"}, {"*"}, "administrator"),
        ("anything", {"*"}, set(), "administrator"),
        (None, {"keeper"}, {"watcher"}, None),
        ("KEEPER", {"keeper"}, set(), None),
        ("watcher", {"keeper"}, set(), None),
    ],
)
def test_roles(value: Any, administrators: set[str], viewers: set[str], role: str | None) -> None:
    known = settings(role_claim="role", administrators=frozenset(administrators), viewers=frozenset(viewers))
    if role is None:
        with pytest.raises(NoAccess):
            person_claims.read_role({"role": value}, known)
    else:
        assert person_claims.read_role({"role": value}, known) == role


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Anna Berg", "preferred_username": "anna"}, "Anna Berg"),
        ({"name": " \n", "preferred_username": "anna"}, "anna"),
        ({"name": ["x"], "email": "anna@acme.example"}, "anna@acme.example"),
        ({"name": "x" * (MAX_NAME + 1)}, "x" * MAX_NAME),
        ({"name": "a\u202eb\ud800c"}, "a b c"),
        ({}, None),
    ],
)
def test_names(claims: dict[str, Any], name: str | None) -> None:
    assert person_claims.read_name(claims) == name
