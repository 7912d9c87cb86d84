"""Which tokens meet a rule of trust."""

from __future__ import annotations

from typing import Any

import pytest

from agentidp.federation.rule import Rule, TokenClaims

RULE = {
    "issuer": "https://issuer.example",
    "subject": "repo:acme/app:ref:refs/heads/main",
    "claims": {"repository_id": "7", "ref": ["refs/heads/main", "refs/heads/next"], "/job/protected": True},
    "audience": "https://idp.example",
}
CLAIMS = {
    "iss": "https://issuer.example",
    "sub": "repo:acme/app:ref:refs/heads/main",
    "aud": "https://idp.example",
    "repository_id": "7",
    "ref": "refs/heads/next",
    "job": {"protected": True, "id": 4},
}


def test_is_met_by_what_it_says_and_by_more() -> None:
    assert Rule.from_trust(RULE).is_met_by(TokenClaims(CLAIMS))
    assert Rule.from_trust(RULE).is_met_by(TokenClaims(CLAIMS | {"actor": "someone", "aud": ["https://idp.example"]}))
    # A claim that is a list, such as groups, contains an accepted value.
    assert Rule.from_trust(RULE).is_met_by(
        TokenClaims(CLAIMS | {"repository_id": ["6", "7"], "ref": ["v1", "refs/heads/next"]})
    )


ISSUERS = ["https://issuer.example/", "https://ISSUER.example", "https://issuer.example/other-tenant"]
AUDIENCES = ["https://idp.example/", ["https://idp.example", "https://other.example"], [], None]
SUBJECTS = [f"{RULE['subject']}2", "repo:acme/app-evil:ref:refs/heads/main", "repo:ACME/app:ref:refs/heads/main"]
IDS = [7, "70", ["70", 7, ["7"], {"7": "7"}], [], None]
JOBS = [{"protected": 1}, {"protected": "true"}, [{"protected": True}], None]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        *[({"iss": iss}, "issuer") for iss in (*ISSUERS, None, ["https://issuer.example"])],
        *[({"aud": aud}, "audience") for aud in AUDIENCES],
        *[({"sub": sub}, "subject") for sub in (*SUBJECTS, 7, [RULE["subject"]])],
        *[({"repository_id": found}, "repository_id") for found in IDS],
        ({"ref": "refs/heads/mai"}, "ref"),
        *[({"job": job}, "/job/protected") for job in JOBS],
    ],
    ids=str,
)
def test_is_not_met_and_says_by_what(changes: dict[str, Any], wrong: str) -> None:
    rule, claims = Rule.from_trust(RULE), CLAIMS | changes
    assert not rule.is_met_by(TokenClaims(claims))
    assert [comparison.name for comparison in rule.compare(TokenClaims(claims)) if not comparison.is_met] == [wrong]


@pytest.mark.parametrize("name", ["email", "/email"])
@pytest.mark.parametrize(
    ("demanded", "claims", "is_met"),
    [
        ({}, {}, False),
        ({}, {"email_verified": False}, False),
        ({}, {"email_verified": "true"}, False),
        ({}, {"email_verified": True}, True),
        ({"email_verified": "true"}, {"email_verified": "true"}, True),
        ({"email_verified": "true"}, {"email_verified": True}, False),
    ],
)
def test_an_email_must_be_verified(name: str, demanded: dict[str, Any], claims: dict[str, Any], is_met: bool) -> None:
    """At some providers, anyone can enter somebody else's address."""
    rule = Rule.from_trust(
        {"issuer": "https://issuer.example", "audience": "x", "claims": {name: "a@b.example"} | demanded}
    )
    token = TokenClaims({"iss": "https://issuer.example", "aud": "x", "email": "a@b.example"} | claims)
    assert rule.is_met_by(token) is is_met
    unmet = [comparison.name for comparison in rule.compare(token) if not comparison.is_met]
    assert unmet == ([] if is_met else ["email_verified"])


def test_a_comparison_shows_both_sides() -> None:
    rule = Rule.from_trust(RULE)
    claims = {name: value for name, value in CLAIMS.items() if name != "sub"} | {"repository_id": 7}
    shown = [
        (comparison.name, comparison.expected, comparison.actual, comparison.is_there, comparison.is_met)
        for comparison in rule.compare(TokenClaims(claims))
    ]
    assert shown == [
        ("issuer", "https://issuer.example", "https://issuer.example", True, True),
        ("audience", "https://idp.example", "https://idp.example", True, True),
        ("subject", "repo:acme/app:ref:refs/heads/main", None, False, False),
        ("repository_id", "7", 7, True, False),
        ("ref", ["refs/heads/main", "refs/heads/next"], "refs/heads/next", True, True),
        ("/job/protected", True, True, True, True),
    ]


@pytest.mark.parametrize(
    ("expected", "found", "result"),
    [
        ("repo:acme/app:*", "repo:acme/app:ref:refs/heads/main", True),
        ("repo:acme/app:*", "repo:acme/app:x", True),
        ("repo:acme/app:*", "repo:acme/app:", False),
        ("repo:acme/app:*", "repo:acme/app-evil:x", False),
        ("repo:acme/app:*", "repo:acme/app", False),
        ("repo:acme/*", "repo:acme-evil/app:x", False),
        ("repo:acme/*", "repo:acme/app:x", True),
        ("repo:acme/app:*", "REPO:acme/app:x", False),
        ("a?", "ab", False),
        (True, 1, False),
        (1, True, False),
        (1, 1.0, False),
        ("1", 1, False),
        (7, 7, True),
    ],
)
def test_compares_exactly(expected: object, found: object, result: bool) -> None:
    assert TokenClaims({"a": found}).has_claim_value("a", expected) is result
    assert TokenClaims({"a": ["x", found, {}, None, 1.5]}).has_claim_value("a", ["y", expected]) is result


@pytest.mark.parametrize(
    ("claims", "issuers"),
    [
        ({"iss": "https://a.example", "sub": "b"}, ("https://a.example",)),
        ({"sub": "spiffe://acme.example/ns/shop"}, ("spiffe://acme.example",)),
        (
            {"iss": "https://a.example", "sub": "spiffe://acme.example/ns"},
            ("https://a.example", "spiffe://acme.example"),
        ),
        ({"sub": "spiffe://acme.example"}, ()),
        ({"sub": "spiffe:///ns"}, ()),
        ({"iss": 7, "sub": ["spiffe://acme.example/ns"]}, ()),
        ({"iss": "spiffe://acme.example", "sub": "spiffe://acme.example/ns"}, ("spiffe://acme.example",)),
    ],
)
def test_knows_whose_token_it_may_be(claims: dict[str, Any], issuers: tuple[str, ...]) -> None:
    assert TokenClaims(claims).issuers == issuers


def test_a_token_that_only_names_a_trust_domain_as_its_issuer_meets_no_rule_of_it() -> None:
    """Only the subject names the trust domain."""
    rule = Rule.from_trust({"issuer": "spiffe://acme.example", "claims": {"a": "b"}, "audience": "c"})
    assert rule.is_met_by(TokenClaims({"sub": "spiffe://acme.example/ns", "a": "b", "aud": "c"}))
    assert not rule.is_met_by(TokenClaims({"iss": "spiffe://acme.example", "sub": "someone", "a": "b", "aud": "c"}))
    assert not rule.is_met_by(TokenClaims({"sub": "spiffe://evil.example/acme.example", "a": "b", "aud": "c"}))
    # A comparison shows the trust domain as the issuer.
    compared = rule.compare(
        TokenClaims({"iss": "https://spire.example", "sub": "spiffe://acme.example/ns", "a": "b", "aud": "c"})
    )
    assert [comparison.actual for comparison in compared if comparison.name == "issuer"] == ["spiffe://acme.example"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/kubernetes.io/pod/uid", "7"),
        ("/a~1b/c~0d", 1),
        ("/a~1b", None),
        ("kubernetes.io", None),
        ("/missing/x", None),
    ],
)
def test_a_json_pointer_leads_to_a_member(name: str, found: object) -> None:
    claims = {"iss": "i", "aud": "a", "kubernetes.io": {"pod": {"uid": "7"}}, "a/b": {"c~d": 1}}
    rule = Rule.from_trust({"issuer": "i", "claims": {name: found if found is not None else "x"}, "audience": "a"})
    assert rule.is_met_by(TokenClaims(claims)) is (found is not None)
