"""Which rules of trust are accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentidp.federation.platforms import GITHUB, GITLAB
from agentidp.federation.rule_checks import (
    MAX_CLAIMS,
    MAX_PATTERN_PARTS,
    MAX_RULE,
    MAX_URL,
    MAX_VALUE,
    MAX_VALUES,
    RuleRefused,
    check_delegation_rule,
    check_provisioning_rule,
    check_rule,
    find_organization_id,
    list_rule_subjects,
    list_warnings,
    narrow_to_subject,
)
from agentidp.http.text import text_refusal

OWN = "https://idp.example"
ORGANIZATION = "org-0a1b2c3d-0000-4000-8000-000000000001"
OTHER = "org-0a1b2c3d-0000-4000-8000-000000000002"
RULE = {"issuer": "https://issuer.example", "subject": "job:7"}
KEYS = {
    "keys": [
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
            "use": "sig",
            "alg": "ES256",
            "kid": "first",
        }
    ]
}
"""The keys of RFC 7517 appendix A.1. They are fixed, because the names of tests contain them."""


def check(**changes: Any) -> dict[str, Any]:
    """Check a rule with *changes*. The value ``None`` removes a member."""
    return check_rule(RULE | changes, own_issuer=OWN, organization_id=ORGANIZATION)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"issuer": "https://issuer.example/tenant/"},
        {"issuer": "https://issuer.example:8443/a"},
        {"issuer": "https://" + "a" * (MAX_URL - len("https://"))},
        {"subject": "x" * MAX_VALUE},
        {"subject": None, "claims": {"team": "a"}},
        {"claims": {str(n): "x" for n in range(MAX_CLAIMS)}},
        {"claims": {"n": [*map(str, range(MAX_VALUES))]}},
        {"claims": {"/kubernetes.io/serviceaccount/uid": "7", "protected": True, "n": 2**53 - 1}},
        {"audience": f"{OWN}/{ORGANIZATION}"},
        {"audience": "sts.example"},
        {"jwks": KEYS},
        {"jwksUri": "https://keys.example/x?y=z"},
        {"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example/ns/a", "jwksUri": "https://b.example"},
        {"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example/ns/*", "jwks": KEYS},
        {"subject": "system:serviceaccount:shop:builder"},
        {"subject": "system:serviceaccount:shop:*"},
        {"issuer": GITHUB, "subject": "repo:acme@1/app@2:ref:refs/heads/main"},
        {"issuer": GITHUB, "subject": "repository_owner_id:7:repository_id:8"},
        {"issuer": GITHUB, "subject": None, "claims": {"repository_id": "7"}},
        {"issuer": GITHUB, "subject": "job_workflow_ref:a/b", "claims": {"repository_owner_id": "7"}},
        {"issuer": GITLAB, "subject": "project_path:acme/app:ref_type:branch:ref:main"},
        {"issuer": "https://accounts.google.com", "subject": "104892101029384756"},
    ],
    ids=str,
)
def test_takes(changes: dict[str, Any]) -> None:
    new = {name: value for name, value in (RULE | changes).items() if value is not None}
    assert check(**changes) == {"audience": OWN} | new


def wrong(member: str, message: str | None, *values: object) -> list[tuple[dict[str, Any], str, str | None]]:
    """Return test cases of rules that are refused because of a member with one of these values."""
    return [({member: value}, member, message) for value in values]


LENGTH = f"must have 1 to {MAX_VALUE} characters"
NOT_A_PATTERN = "may contain * only at its end, directly after a : or /"
NOBODY_NAMED = "must name its owner before the *, because otherwise anyone could match it"
NO_VALUE = "a must be a string, a whole number or a boolean, or a list of these"
OTHER_ORGANIZATION = "must not name another organization"
GITHUB_CLAIMS = "claims must have one of repository_id, repository_owner_id, repository, repository_owner"
ANYONE = "anyone can have a token of this issuer"
SPIFFE = {"issuer": "spiffe://acme.example"}
REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    *wrong("issuer", None, "http://issuer.example", "https://", "https:///x", "https://user@issuer.example", ""),
    *wrong("issuer", None, "https://issuer.example#a", "https://issuer.example/?a=b", "https://issuer.example/a b"),
    *wrong("issuer", None, "https://issuer.example:99999", "https://issuér.example", "ftp://a.example", "a.example"),
    *wrong("issuer", None, "spiffe://acme.example/ns", "spiffe://", "spiffe://Acme.example", OWN, f"{OWN}/"),
    *wrong("issuer", None, "https://" + "a" * MAX_URL, "https://issuer.example/\x00"),
    *wrong("subject", "must be there, or claims: otherwise every token of the issuer would be trusted", None),
    ({"subject": None, "claims": {}}, "subject", None),
    *wrong("subject", LENGTH, "", "x" * (MAX_VALUE + 1)),
    *wrong("subject", text_refusal("\x00"), "a\x00"),
    *wrong("subject", text_refusal("\ud800"), "a\ud800"),
    *wrong("subject", NOT_A_PATTERN, "*", "repo:acme*", "repo:*/app:x", "a:b:**"),
    *wrong("subject", NOBODY_NAMED, "repo:*", "a::/*"),
    *wrong(
        "subject",
        "must not be the default service account, which pods share by default: give the workload its own account",
        "system:serviceaccount:shop:default",
    ),
    *wrong(
        "subject",
        "must name the namespace, because otherwise every service account of the cluster would match it",
        "system:serviceaccount:*",
    ),
    *wrong("claims", f"a {NOT_A_PATTERN}", {"a": "*"}),
    *wrong("claims", "a must have more than separators before its *", {"a": ["b", "/*"]}),
    *wrong("claims", NO_VALUE, {"a": None}, {"a": 1.5}, {"a": 2**53}, {"a": {"b": "c"}}, {"a": [["b"]]}),
    *wrong("claims", f"a must have 1 to {MAX_VALUES} values", {"a": []}, {"a": ["b"] * (MAX_VALUES + 1)}),
    *wrong("claims", f"a {LENGTH}", {"a": ""}),
    *wrong("claims", LENGTH, {"": "a"}),
    *wrong("claims", None, {"aud": "a"}, {"jti": "a"}, {str(n): "x" for n in range(MAX_CLAIMS + 1)}),
    *wrong("audience", OTHER_ORGANIZATION, f"{OWN}/{OTHER}", f"{ORGANIZATION} {OTHER}"),
    ({"jwks": KEYS, "jwksUri": "https://keys.example"}, "jwksUri", "must be left out if there is a jwks"),
    *wrong("jwks", "must be a JWK Set with 1 to 10 keys", {"keys": []}),
    *wrong("jwks", None, {"keys": [{"kty": "oct", "k": "x"}]}),
    *wrong("jwksUri", "must be an https URL without credentials and fragment", "http://keys.example"),
    (
        SPIFFE | {"subject": "spiffe://acme.example/a"},
        "jwksUri",
        "must be there, or jwks, because a trust domain has no metadata that names its keys",
    ),
    (
        SPIFFE | {"subject": "spiffe://acme.example.evil/a", "jwks": KEYS},
        "subject",
        "must be a SPIFFE ID of the trust domain: spiffe://acme.example/...",
    ),
    (
        {"issuer": GITHUB, "subject": None, "claims": {"environment": "production"}},
        "subject",
        f"must be there, or {GITHUB_CLAIMS}: {ANYONE}",
    ),
    (
        {"issuer": GITHUB, "subject": "job_workflow_ref:acme/shared/.github/workflows/x.yml@refs/heads/main"},
        "subject",
        f"must begin with repo:, or {GITHUB_CLAIMS}: {ANYONE}",
    ),
    ({"issuer": GITHUB, "subject": "repo:*"}, "subject", NOBODY_NAMED),
    ({"issuer": GITLAB, "subject": "ref:main"}, "subject", None),
    ({"issuer": "https://accounts.google.com", "subject": None, "claims": {"azp": "x"}}, "subject", None),
]


def test_a_rule_is_bounded_as_a_whole() -> None:
    value = "x" * MAX_VALUE
    shorter = len(json.dumps(check(claims={"a": [value] * MAX_VALUES, "b": [value] * 11, "c": "x"}))) - 1
    longest = {"a": [value] * MAX_VALUES, "b": [value] * 11, "c": "x" * (MAX_RULE - shorter)}
    assert len(json.dumps(check(claims=longest))) == MAX_RULE
    with pytest.raises(RuleRefused, match=f"must be shorter: the whole rule may have {MAX_RULE} characters") as refused:
        check(claims=longest, audience=f"{OWN}/")
    assert refused.value.member == "claims"


@pytest.mark.parametrize(("changes", "member", "message"), REFUSED, ids=lambda value: ascii(value)[:80])
def test_refuses_and_says_why(changes: dict[str, Any], member: str, message: str | None) -> None:
    with pytest.raises(RuleRefused) as refused:
        check(**changes)
    assert (refused.value.member, str(refused.value)) == (member, message or str(refused.value))


TAKEN_OVER = "{} can be taken over after a rename or a deletion: add the claim {}"
OF_GITHUB = TAKEN_OVER.format("names of owners and repositories", "repository_id or repository_owner_id")
OF_GITLAB = TAKEN_OVER.format("paths of groups and projects", "project_id or namespace_id")
NO_SUBJECT = "there is no subject, so whoever has a token of the issuer with these claims is trusted"
PULL_REQUEST = "a pull request is trusted before anybody has reviewed it"
BELOW = "subject ends in *, so everything below {} is trusted"


@pytest.mark.parametrize(
    ("rule", "warned"),
    [
        (RULE, []),
        ({"issuer": "https://a.example", "claims": {"team": "x"}}, [NO_SUBJECT]),
        ({"issuer": GITHUB, "subject": "repo:acme@1/app@2:*"}, [BELOW.format("repo:acme@1/app@2:")]),
        ({"issuer": GITHUB, "subject": "repo:acme/app:ref:refs/heads/main"}, [OF_GITHUB]),
        ({"issuer": GITHUB, "subject": "repo:acme/app:ref:x", "claims": {"repository_id": "7"}}, []),
        ({"issuer": GITHUB, "subject": "repo:acme/app:pull_request", "claims": {"repository_id": "7"}}, [PULL_REQUEST]),
        ({"issuer": GITLAB, "subject": "project_path:a/b:ref_type:branch:ref:main"}, [OF_GITLAB]),
        ({"issuer": GITLAB, "subject": "project_id:7:ref_type:branch:ref:main"}, []),
        (
            {"issuer": "https://a.example", "subject": "system:serviceaccount:shop:*"},
            [BELOW.format("system:serviceaccount:shop:")],
        ),
    ],
)
def test_warns_of_what_is_wide_or_can_change_hands(rule: dict[str, Any], warned: list[str]) -> None:
    assert list_warnings(rule) == warned


WIDE: list[tuple[dict[str, Any], str]] = [
    ({"issuer": "https://a.example", "claims": {"protected": True}}, "claims"),
    ({"issuer": "https://a.example", "claims": {"protected": "true"}}, "claims"),
    ({"issuer": "https://a.example", "claims": {"ref": ["a", "b/*"]}}, "claims"),
    ({"issuer": "https://a.example"}, "subject"),
    ({"issuer": "https://a.example", "claims": {"/iss": "https://a.example"}}, "claims"),
    ({"issuer": "https://a.example", "claims": {"/aud": f"{OWN}/{ORGANIZATION}"}}, "claims"),
    ({"issuer": GITHUB, "subject": "repo:acme/*"}, "claims"),
    ({"issuer": GITHUB, "claims": {"repository_owner": "acme"}}, "claims"),
    ({"issuer": GITLAB, "claims": {"namespace_path": "acme"}}, "claims"),
    ({"issuer": "https://app.terraform.io", "subject": "organization:acme:*"}, "claims"),
    ({"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example/*", "jwks": KEYS}, "claims"),
    ({"issuer": "https://a.example", "subject": "system:serviceaccount:*"}, "subject"),
    ({"issuer": "https://a.example", "subject": "job:a:*", "audience": OWN}, "audience"),
    ({"issuer": "https://a.example", "subject": "job:a:*", "audience": f"{OWN}/{OTHER}"}, "audience"),
]


@pytest.mark.parametrize(("rule", "member"), WIDE, ids=str)
def test_a_rule_that_creates_agents_says_whose_subjects_they_are(rule: dict[str, Any], member: str) -> None:
    with pytest.raises(RuleRefused) as refused:
        check_provisioning_rule(rule, own_issuer=OWN, organization_id=ORGANIZATION)
    assert refused.value.member == member


NAMED: list[dict[str, Any]] = [
    {"issuer": GITHUB, "claims": {"repository_owner_id": "7"}},
    {"issuer": GITHUB, "subject": "repo:acme/*", "claims": {"repository_owner_id": ["7", "8"]}},
    {"issuer": GITLAB, "claims": {"namespace_id": "7"}},
    {"issuer": "https://accounts.google.com", "claims": {"email": "a@acme.example"}},
    {"issuer": "https://a.example", "subject": "system:serviceaccount:shop:*"},
    {"issuer": "https://a.example", "claims": {"/kubernetes.io/namespace": "shop"}},
    {"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example/ns/*", "jwks": KEYS},
    {"issuer": "https://a.example", "subject": "job:a:*", "audience": f"urn:x:{ORGANIZATION}"},
]


@pytest.mark.parametrize("rule", NAMED, ids=str)
def test_a_rule_that_creates_agents_is_taken(rule: dict[str, Any]) -> None:
    made = check_provisioning_rule(rule, own_issuer=OWN, organization_id=ORGANIZATION)
    assert made["audience"] == rule.get("audience", f"{OWN}/{ORGANIZATION}")
    assert find_organization_id(made["audience"]) == ORGANIZATION
    for subject in ("*", "job:*", "job:a*", None, 7, "a\x00", "a" * 501):
        with pytest.raises(RuleRefused):
            narrow_to_subject(made, subject, own_issuer=OWN, organization_id=ORGANIZATION)


SHARED = f"{OWN}/{ORGANIZATION}"
DELEGATION: list[tuple[dict[str, Any], str | None]] = [
    # All subjects of an organization's own issuer, and some subjects of an issuer from which anyone can get tokens.
    ({"issuer": "https://a.example"}, None),
    ({"issuer": "https://a.example", "audience": SHARED}, None),
    ({"issuer": "https://accounts.google.com", "claims": {"hd": "acme.example"}}, None),
    ({"issuer": "https://slack.com", "claims": {"https://slack.com/team_id": "T7"}}, None),
    ({"issuer": "https://accounts.google.com"}, "subject"),
    ({"issuer": "https://accounts.google.com", "claims": {"email_verified": True}}, "subject"),
    ({"issuer": "https://slack.com"}, "subject"),
    ({"issuer": "https://api.pulumi.com/oidc/v2"}, "subject"),
    ({"issuer": "https://login.app.env0.com/"}, "subject"),
    ({"issuer": GITHUB}, "subject"),
    ({"issuer": OWN}, "issuer"),
    ({"issuer": "https://a.example", "subject": "*"}, "subject"),
    ({"issuer": "https://a.example", "claims": {"sub": "x"}}, "claims"),
    ({"issuer": "https://a.example", "audience": f"{OWN}/{OTHER}"}, "audience"),
    ({"issuer": "https://a.example", "audience": "0a1b2c3d-0000-4000-8000-000000000001"}, "audience"),
    ({"issuer": "https://a.example", "audience": ""}, "audience"),
]


@pytest.mark.parametrize(("rule", "refused_member"), DELEGATION, ids=str)
def test_for_whom_agents_may_act(rule: dict[str, Any], refused_member: str | None) -> None:
    try:
        made = check_delegation_rule(rule, own_issuer=OWN, organization_id=ORGANIZATION)
    except RuleRefused as refused:
        assert refused.member == refused_member
    else:
        # A rule without an audience stays without one: the audience is the client_id of the agent that acts.
        assert (made, refused_member) == (rule, None)


@pytest.mark.parametrize("audience", [None, 7, [f"{OWN}/{ORGANIZATION}"], OWN, "org-1", ORGANIZATION.upper()], ids=str)
def test_an_audience_names_no_organization(audience: object) -> None:
    assert find_organization_id(audience) is None


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        ("repo:acme/app:main", [None, "repo:acme/app:main", "repo:*", "repo:acme/*", "repo:acme/app:*"]),
        ("a::b/", [None, "a::b/", "a:*", "a::*", "a::b/*"]),
        ("a:*", [None, "a:*"]),
        ("a", [None, "a"]),
        (["a"], [None]),
        (None, [None]),
    ],
    ids=str,
)
def test_the_subjects_of_the_rules_that_a_token_may_meet(subject: object, found: list[str | None]) -> None:
    assert list_rule_subjects(subject) == found


def test_the_longest_pattern_of_a_rule_is_among_them_and_no_longer_one() -> None:
    longest = "a" * (MAX_VALUE - MAX_PATTERN_PARTS - 1) + ":" * MAX_PATTERN_PARTS + "*"
    assert longest in list_rule_subjects(longest[:-1] + "b:c")
    assert f"a{longest}" not in list_rule_subjects(f"a{longest[:-1]}b:c")
    # Anybody can send a subject with many separators, and each separator adds a look-up.
    assert len(list_rule_subjects(":" * 8000)) == MAX_PATTERN_PARTS + 2
