"""Check rules of trust, so that no rule trusts everybody by mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from agentidp.config import LOOPBACK_HOSTS
from agentidp.federation.platforms import CUSTOMER_CLAIMS, PASSING_NAMES, SUBJECT_PREFIXES, is_open_issuer
from agentidp.federation.rule import MAX_POINTER, SEPARATORS, SPIFFE, as_list, is_pattern
from agentidp.http.text import text_refusal
from agentidp.jose.jwk import check_public_jwks

MAX_URL = 255
"""Maximum number of characters of an issuer, and of the address of its keys."""

MAX_VALUE = 500
"""Maximum number of characters of a subject, of an audience, and of a claim's name or value."""

MAX_RULE = 16_000
"""Maximum number of characters of a rule as JSON. The limits of the members together would allow 200,000 characters."""

MAX_PATTERN_PARTS = 20
"""Maximum number of separators in a pattern, which limits the lookups of rules per token."""

MAX_CLAIMS = 20
MAX_VALUES = 20
"""Maximum number of accepted values that a rule lists per claim."""

_EXCLUDED_CLAIMS = {"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}
"""Claims that a rule's ``claims`` must not contain, because the rule's other members, such as ``issuer``, check them
or because they differ in each token."""

_SERVICE_ACCOUNT = "system:serviceaccount:"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_ORGANIZATION_ID = re.compile(r"org-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class RuleRefused(Exception):
    """A member of a rule of trust is refused. The message is for the author of the rule."""

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.member = member


def check_rule(
    members: Mapping[str, Any],
    *,
    own_issuer: str,
    organization_id: str,
    allows_loopback: bool = False,
    may_trust_everybody: bool = False,
) -> dict[str, Any]:
    """Check a rule of trust, and return it in the stored form, without absent members.

    :param members: ``issuer``, ``subject``, ``claims``, ``audience``, ``jwks`` and ``jwksUri``, each possibly ``None``.
    :param own_issuer: the issuer of this server, which is the default audience.
    :param allows_loopback: whether an issuer at a loopback address may use plain HTTP.
    :param may_trust_everybody: whether the rule may lack both subject and claims.
    """
    issuer, subject, claims = members.get("issuer"), members.get("subject"), members.get("claims") or {}
    jwks, jwks_uri = members.get("jwks"), members.get("jwksUri")
    if not isinstance(issuer, str):
        raise RuleRefused("issuer", "must be there for the type federated")
    _check_issuer(issuer, own_issuer, allows_loopback)
    rule: dict[str, Any] = {"issuer": issuer}
    if subject is not None:
        rule["subject"] = _check_string("subject", subject)
    if claims:
        rule["claims"] = _check_claims(claims)
    audience = rule["audience"] = _check_string("audience", members.get("audience") or own_issuer)
    if any(id_in_audience != organization_id for id_in_audience in _ORGANIZATION_ID.findall(audience)):
        # A token whose audience names an organization is compared with rules of that organization only, so this rule
        # would never match.
        raise RuleRefused("audience", "must not name another organization")
    if subject is not None or claims or not may_trust_everybody or is_open_issuer(issuer):
        _check_trusted_subjects(issuer, subject, claims)
    if jwks is not None and jwks_uri is not None:
        raise RuleRefused("jwksUri", "must be left out if there is a jwks")
    if jwks is not None:
        try:
            rule["jwks"] = {"keys": check_public_jwks(jwks)}
        except ValueError as error:
            raise RuleRefused("jwks", str(error)) from None
    elif jwks_uri is not None:
        rule["jwksUri"] = _check_url("jwksUri", jwks_uri, allows_loopback)
    elif issuer.startswith(SPIFFE):
        raise RuleRefused(
            "jwksUri", "must be there, or jwks, because a trust domain has no metadata that names its keys"
        )
    if len(json.dumps(rule)) > MAX_RULE:
        longest_member = max(rule, key=lambda member: len(json.dumps(rule[member])))
        raise RuleRefused(longest_member, f"must be shorter: the whole rule may have {MAX_RULE} characters as JSON")
    return rule


def check_provisioning_rule(
    members: Mapping[str, Any], *, own_issuer: str, organization_id: str, allows_loopback: bool = False
) -> dict[str, Any]:
    """Check a provisioning rule, and return it in the stored form."""
    audience = members.get("audience") or f"{own_issuer}/{organization_id}"
    rule = check_rule(
        {**members, "audience": audience},
        own_issuer=own_issuer,
        organization_id=organization_id,
        allows_loopback=allows_loopback,
    )
    # Each token must name the organization in which it may create an agent.
    if organization_id not in audience:
        raise RuleRefused(
            "audience", f"must contain the id of the organization, as {own_issuer}/{organization_id} does"
        )
    _require_named_owner(rule["issuer"], rule.get("subject"), rule.get("claims", {}))
    return rule


def check_delegation_rule(
    members: Mapping[str, Any], *, own_issuer: str, organization_id: str, allows_loopback: bool = False
) -> dict[str, Any]:
    """Check a delegation rule, and return it in the stored form.

    If the rule has no audience, the ``aud`` of each token must be the agent that acts.
    """
    rule = check_rule(
        members,
        own_issuer=own_issuer,
        organization_id=organization_id,
        allows_loopback=allows_loopback,
        may_trust_everybody=True,
    )
    if members.get("audience") is None:
        del rule["audience"]
    elif organization_id not in rule["audience"]:
        raise RuleRefused(
            "audience",
            f"must contain the id of the organization, as {own_issuer}/{organization_id} does, or be left out: then it "
            "is the client_id of the agent that acts",
        )
    return rule


def narrow_to_subject(
    trust: Mapping[str, Any], subject: object, *, own_issuer: str, organization_id: str
) -> dict[str, Any]:
    """Return a provisioning rule's *trust* limited to a subject, as the rule of trust of the subject's agent."""
    if not isinstance(subject, str) or "*" in subject:
        raise RuleRefused("subject", "must be a string without *, which would be a pattern")
    # Loopback addresses are allowed here, because the issuer was checked when the provisioning rule was created.
    return check_rule(
        {**trust, "subject": subject}, own_issuer=own_issuer, organization_id=organization_id, allows_loopback=True
    )


def find_organization_id(audience: object) -> str | None:
    """Return the organization's id that an audience contains, or ``None``."""
    match = _ORGANIZATION_ID.search(audience) if isinstance(audience, str) else None
    return match[0] if match else None


def list_rule_subjects(subject: object) -> list[str | None]:
    """Return the subjects of all rules that may accept a ``sub``: ``None``, the ``sub`` itself, and patterns."""
    if not isinstance(subject, str):
        return [None]
    separators = islice(re.finditer("[:/]", subject[: MAX_VALUE - 1]), MAX_PATTERN_PARTS)
    return list(dict.fromkeys((None, subject, *(f"{subject[: separator.end()]}*" for separator in separators))))


def list_warnings(rule: Mapping[str, Any]) -> list[str]:
    """Return warnings if a rule trusts several workloads, or trusts a name that can pass to somebody else."""
    issuer, subject, claims = rule["issuer"], rule.get("subject"), rule.get("claims", {})
    warnings = [
        f"{member_name} ends in *, so everything below {expected_value[:-1]} is trusted"
        for member_name, expected_value in _list_expected_values(subject, claims)
        if is_pattern(expected_value)
    ]
    if subject is None:
        warnings.append(
            "there is no subject, so whoever has a token of the issuer with these claims is trusted"
            if claims
            else "there is neither subject nor claim, so everybody who can have a token of the issuer is trusted"
        )
    if subject is not None and subject.endswith(":pull_request"):
        warnings.append("a pull request is trusted before anybody has reviewed it")
    if issuer in PASSING_NAMES:
        name_kinds, subject_with_ids_pattern = PASSING_NAMES[issuer]
        id_claims = CUSTOMER_CLAIMS[issuer][:2]
        if claims.keys().isdisjoint(id_claims) and not subject_with_ids_pattern.match(subject or ""):
            warnings.append(
                f"{name_kinds} can be taken over after a rename or a deletion: add the claim {' or '.join(id_claims)}"
            )
    return warnings


def _list_expected_values(subject: str | None, claims: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if subject is not None:
        yield "subject", subject
    for claim_name, value_or_values in claims.items():
        for claim_value in as_list(value_or_values):
            yield claim_name, claim_value


def check_provider_issuer(issuer: str, own_issuer: str, *, allows_loopback: bool) -> None:
    """Raise :exc:`RuleRefused` unless an OpenID provider's issuer is an https URL and not this server."""
    if issuer.startswith(SPIFFE):
        raise RuleRefused("issuer", "must be an https URL")
    _check_issuer(issuer, own_issuer, allows_loopback)


def _check_issuer(issuer: str, own_issuer: str, allows_loopback: bool) -> None:
    if issuer.startswith(SPIFFE):
        if not _TRUST_DOMAIN.fullmatch(issuer.removeprefix(SPIFFE)):
            raise RuleRefused("issuer", "must be spiffe:// and the name of a trust domain, without a path")
        return
    _check_url("issuer", issuer, allows_loopback, may_have_query=False)
    if issuer.rstrip("/") == own_issuer:
        raise RuleRefused("issuer", "must not be this server, whose own tokens are not accepted as credentials")


def _check_url(member: str, url: object, allows_loopback: bool, *, may_have_query: bool = True) -> str:
    checked_url = _check_string(member, url, MAX_URL)
    try:
        url_parts = urlsplit(checked_url)
        is_local_http = url_parts.scheme == "http" and url_parts.hostname in LOOPBACK_HOSTS and allows_loopback
        is_allowed = (url_parts.scheme == "https" or is_local_http) and bool(url_parts.hostname) and url_parts.port != 0
    except ValueError:
        is_allowed = False
    if (
        not is_allowed
        or url_parts.username is not None
        or "#" in checked_url
        or not checked_url.isascii()
        or " " in checked_url
    ):
        raise RuleRefused(member, "must be an https URL without credentials and fragment")
    if "?" in checked_url and not may_have_query:
        raise RuleRefused(member, "must be an https URL without query")
    return checked_url


def _check_string(member: str, value: object, max_length: int = MAX_VALUE) -> str:
    if not isinstance(value, str):
        raise RuleRefused(member, "must be a string")
    if not 1 <= len(value) <= max_length:
        raise RuleRefused(member, f"must have 1 to {max_length} characters")
    if refusal := text_refusal(value):
        raise RuleRefused(member, refusal)
    return value


def _check_claims(claims: object) -> dict[str, Any]:
    if not isinstance(claims, dict):
        raise RuleRefused("claims", "must be an object")
    if len(claims) > MAX_CLAIMS:
        raise RuleRefused("claims", f"must not have more than {MAX_CLAIMS} claims")
    for claim_name, value_or_values in claims.items():
        _check_string("claims", claim_name)
        # This condition refuses a claim such as "iss", and a JSON Pointer to the claim, such as "/iss".
        if claim_name.removeprefix("/") in _EXCLUDED_CLAIMS:
            raise RuleRefused(
                "claims", f"must not contain {claim_name}: another member checks it, or it differs in each token"
            )
        if claim_name.startswith("/") and claim_name.count("/") > MAX_POINTER:
            raise RuleRefused("claims", f"{claim_name} must be at most {MAX_POINTER} levels deep")
        claim_values = as_list(value_or_values)
        if not 1 <= len(claim_values) <= MAX_VALUES:
            raise RuleRefused("claims", f"{claim_name} must have 1 to {MAX_VALUES} values")
        for claim_value in claim_values:
            if isinstance(claim_value, str):
                try:
                    _check_string("claims", claim_value)
                except RuleRefused as error:
                    raise RuleRefused("claims", f"{claim_name} {error}") from None
            elif type(claim_value) is not bool and not (type(claim_value) is int and abs(claim_value) < 2**53):
                raise RuleRefused(
                    "claims", f"{claim_name} must be a string, a whole number or a boolean, or a list of these"
                )
    return claims


def _check_trusted_subjects(issuer: str, subject: str | None, claims: Mapping[str, Any]) -> None:
    if subject is None and not claims:
        raise RuleRefused("subject", "must be there, or claims: otherwise every token of the issuer would be trusted")
    if subject is not None:
        _check_pattern("subject", "", subject)
        _check_subject_of_platform(issuer, subject)
    for claim_name, claim_value in _list_expected_values(None, claims):
        if isinstance(claim_value, str):
            _check_pattern("claims", f"{claim_name} ", claim_value)
    if issuer in CUSTOMER_CLAIMS:
        prefixes = SUBJECT_PREFIXES.get(issuer)
        is_customer_named = subject is not None and (prefixes is None or subject.startswith(prefixes))
        if not is_customer_named and claims.keys().isdisjoint(CUSTOMER_CLAIMS[issuer]):
            error_message = f"must begin with {prefixes[0]}" if subject is not None and prefixes else "must be there"
            raise RuleRefused(
                "subject",
                f"{error_message}, or claims must have one of {', '.join(CUSTOMER_CLAIMS[issuer])}: "
                "anyone can have a token of this issuer",
            )


def _check_pattern(member: str, message_prefix: str, value: str) -> None:
    """Refuse a value with a ``*`` that is not an allowed pattern, with a message that begins with *message_prefix*."""
    if "*" not in value:
        return
    pattern_prefix = value[:-1]
    if "*" in pattern_prefix or not pattern_prefix.endswith(SEPARATORS):
        raise RuleRefused(member, f"{message_prefix}may contain * only at its end, directly after a : or /")
    if sum(pattern_prefix.count(separator) for separator in SEPARATORS) > MAX_PATTERN_PARTS:
        raise RuleRefused(member, f"{message_prefix}may have at most {MAX_PATTERN_PARTS} of : and / before its *")
    segments = [segment for segment in re.split("[:/]", pattern_prefix) if segment]
    if len(segments) < 2 and member == "subject":
        raise RuleRefused(member, "must name its owner before the *, because otherwise anyone could match it")
    if not segments:
        raise RuleRefused(member, f"{message_prefix}must have more than separators before its *")


def _check_subject_of_platform(issuer: str, subject: str) -> None:
    if issuer.startswith(SPIFFE) and not subject.startswith(f"{issuer}/"):
        raise RuleRefused("subject", f"must be a SPIFFE ID of the trust domain: {issuer}/...")
    if not subject.startswith(_SERVICE_ACCOUNT):
        return
    namespace, _, account_name = subject.removeprefix(_SERVICE_ACCOUNT).partition(":")
    if is_pattern(namespace):
        raise RuleRefused(
            "subject", "must name the namespace, because otherwise every service account of the cluster would match it"
        )
    if account_name == "default":
        raise RuleRefused(
            "subject",
            "must not be the default service account, which pods share by default: give the workload its own account",
        )


def _require_named_owner(issuer: str, subject: str | None, claims: Mapping[str, Any]) -> None:
    owner_claims = {
        claim_name
        for claim_name, value_or_values in claims.items()
        if not any(map(_names_nobody, as_list(value_or_values)))
    }
    if issuer in CUSTOMER_CLAIMS:
        # The claims must have the customer's id, because another customer could take over a name and thus the agents.
        customer_claims = [
            claim_name for claim_name in CUSTOMER_CLAIMS[issuer] if claim_name.endswith("_id")
        ] or CUSTOMER_CLAIMS[issuer]
        if owner_claims.isdisjoint(customer_claims):
            raise RuleRefused(
                "claims",
                f"must have one of {', '.join(customer_claims)}, without *: the rule creates an agent for each match",
            )
    elif not owner_claims and (subject is None or subject == f"{issuer}/*"):
        raise RuleRefused(
            "claims", "must name the owner of the subjects, such as the namespace: the rule creates agents for them"
        )


def _names_nobody(value: object) -> bool:
    return is_pattern(value) or type(value) is bool or value in ("true", "false")
