"""The vectors of the package subvectors: conditions that clouds put on tokens of CI systems, graded by what they admit.

Each is made a rule of ours. What the rule accepts must be what the vector expects, a dangerous one must be refused or
warned of, and a safe one must be possible. ``DIFFERENT`` says why where that is not so.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from agentidp.federation.rule import Rule
from agentidp.federation.rule_checks import RuleRefused, checked, warnings

OWN = "https://idp.example"
ORGANIZATION = "org-0a1b2c3d-0000-4000-8000-000000000001"
ISSUERS = {
    "github": "https://token.actions.githubusercontent.com",
    "gitlab": "https://gitlab.com",
    "terraform-cloud": "https://app.terraform.io",
    "circleci": "https://oidc.circleci.com/org/0e1f",
    "bitbucket": "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc",
}
NO_SUCH_RULE = "no such rule"
"""The condition needs alternatives, negations or an operator that our rules do not have."""

REFUSED = "a safe one is refused"
NOBODY_NAMED = "an audience or an environment names nobody: the vector looks at one condition among several"
DIFFERENT: dict[str, tuple[str, str]] = {
    "gh-aws-aud-pinned-official-action": (REFUSED, NOBODY_NAMED),
    "gh-aws-aud-default-owner-url-rejected": (REFUSED, NOBODY_NAMED),
    "gh-aws-environment-key-absent-claim-rejected": (REFUSED, NOBODY_NAMED),
    "gh-aws-jwr-condition-key-sha-pin": (REFUSED, "every repository can call a public workflow: add whose it is"),
}
"""Vector -> in what we do not agree, and why."""


def vectors() -> Iterator[Any]:
    """Each vector, with its suite."""
    directory = importlib.resources.files("subvectors") / "vectors"
    for file in sorted(directory.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            suite = json.loads(file.read_text(encoding="utf-8"))
            for vector in suite["vectors"]:
                yield pytest.param(vector, id=vector["id"])


class NoSuchRule(Exception):
    """Our rules cannot say it."""


def conditions(condition: dict[str, Any]) -> Iterator[tuple[str, str | list[str]]]:
    """The claims of a condition and what they must be, all of them.

    :raises NoSuchRule: it says more than that.
    """
    consumer, pattern = condition["consumer"], condition.get("pattern")
    if "qualifier" in condition:
        raise NoSuchRule
    if consumer == "aws-all":
        for one in condition["of"]:
            yield from conditions(one)
    elif consumer in ("aws-stringequals", "azure-fic-exact"):
        values = pattern if isinstance(pattern, list) else [pattern]
        if any("*" in str(value) for value in values):
            # A literal asterisk. Ours never is one.
            raise NoSuchRule
        yield condition.get("claim", "sub"), pattern
    elif consumer == "aws-stringlike":
        if "?" in str(pattern):
            raise NoSuchRule
        yield condition["claim"], pattern
    else:
        yield from expressions(str(pattern if pattern is not None else condition["expression"]))


CLAUSE = re.compile(
    r"""(?:claims\['(?P<flexible>[^']+)'\]\s+(?P<operator>eq|matches)\s+'(?P<comparand>[^']*)'
    |assertion(?:\.(?P<name>\w+)|\['(?P<indexed>[^']+)'\])
      (?:\s*==\s*(?P<quote>["'])(?P<equal>[^"']*)(?P=quote)|\.startsWith\((?P<q>["'])(?P<prefix>[^"']*)(?P=q)\)))""",
    re.VERBOSE,
)


def expressions(text: str) -> Iterator[tuple[str, str]]:
    """The clauses of an expression of Entra or of CEL."""
    for part in re.split(r"\s+and\s+|\s*&&\s*", text.strip()):
        found = CLAUSE.fullmatch(part.strip())
        if found is None:
            raise NoSuchRule
        if found["flexible"]:
            if (found["operator"] == "eq" and "*" in found["comparand"]) or "?" in found["comparand"]:
                raise NoSuchRule
            yield found["flexible"], found["comparand"]
        elif found["equal"] is not None:
            yield found["name"] or found["indexed"], found["equal"]
        else:
            yield found["name"] or found["indexed"], found["prefix"] + "*"


def result(vector: dict[str, Any]) -> tuple[str, list[str]]:
    """``match``, ``no-match``, ``refused`` or ``NO_SUCH_RULE``, and what the rule is warned of."""
    token = {"sub": vector.get("subject"), "aud": OWN} | (vector.get("claims") or {})
    token["iss"] = ISSUERS[vector["issuer"]]
    try:
        wanted = list(conditions(vector["condition"]))
        claims = dict(wanted)
        if len(claims) < len(wanted):
            raise NoSuchRule
    except NoSuchRule:
        return NO_SUCH_RULE, []
    audience, subject = claims.pop("aud", None), claims.pop("sub", None)
    if isinstance(audience, list):
        return NO_SUCH_RULE, []
    new = {"issuer": token["iss"], "audience": audience or token["aud"], "claims": claims}
    # A list of subjects is a rule for each of them.
    rules, warned = [], []
    try:
        for one in subject if isinstance(subject, list) else [subject]:
            rule = checked(new | {"subject": one}, own_issuer=OWN, organization_id=ORGANIZATION)
            rules.append(rule)
            warned += warnings(rule)
    except RuleRefused:
        return "refused", []
    is_met = any(Rule.of(rule).is_met_by(token) for rule in rules)
    return "match" if is_met else "no-match", warned


def disagreement(vector: dict[str, Any]) -> str | None:
    """In what our rules do not agree with a vector."""
    found, warned = result(vector)
    grade = vector.get("judgment", {}).get("grade")
    if found == NO_SUCH_RULE:
        # Whoever means something safe by it must find out how to say it.
        return "cannot be said" if grade == "safe" else None
    if found == "refused":
        return "a safe one is refused" if grade == "safe" else None
    if found != vector["expect"]:
        return f"{found} instead of {vector['expect']}"
    if grade == "dangerous" and not warned:
        return "a dangerous one is not warned of"
    return None


@pytest.mark.parametrize("vector", [*vectors()])
def test_agrees_with_the_grade(vector: dict[str, Any]) -> None:
    assert disagreement(vector) == DIFFERENT.get(vector["id"], (None,))[0]


def test_there_are_as_many_as_the_package_says() -> None:
    known = {parameter.values[0]["id"] for parameter in vectors()}
    assert len(known) >= 163
    assert set(DIFFERENT) <= known
