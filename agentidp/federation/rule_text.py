"""Read the parts of a rule of trust that people write as text: claims, and the keys in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from agentidp.federation.key_set import read_usable_jwk
from agentidp.federation.rule import as_list
from agentidp.federation.rule_checks import RuleRefused

CLAIMS_TYPED_AS = (
    "Other required claims: NAME=VALUE for a string, and NAME:=true, NAME:=false or NAME:=7 for a boolean or "
    "a number. Repeat a name to accept several values"
)
JWKS_TYPED_AS = "The issuer's keys, if they cannot be fetched: a JWK Set, or a SPIFFE bundle"


def parse_claims(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse a rule's claims from lines ``name=value``, or ``name:=value`` for a boolean or a number.

    :returns: the accepted value by the claim's name, or a list of values if several lines have the name.
    """
    values_by_name: dict[str, list[Any]] = {}
    for claim_text in pairs:
        claim_name, equals_sign, value_text = claim_text.partition("=")
        if not equals_sign:
            raise RuleRefused("claims", f"must be name=value, or name:=true, false or a whole number, not {claim_text}")
        if not claim_name.endswith(":"):
            values_by_name.setdefault(claim_name, []).append(value_text)
            continue
        try:
            parsed_value = json.loads(value_text)
        except (ValueError, RecursionError):
            parsed_value = None
        if type(parsed_value) not in (bool, int):
            raise RuleRefused("claims", f"{claim_name}= must be followed by true, false or a whole number")
        values_by_name.setdefault(claim_name[:-1], []).append(parsed_value)
    return {
        claim_name: parsed_values[0] if len(parsed_values) == 1 else parsed_values
        for claim_name, parsed_values in values_by_name.items()
    }


def format_claims(claims: dict[str, Any]) -> list[str]:
    """Format a rule's claims as lines that :func:`parse_claims` can parse."""
    return [
        f"{claim_name}={claim_value}" if isinstance(claim_value, str) else f"{claim_name}:={json.dumps(claim_value)}"
        for claim_name, value_or_values in claims.items()
        for claim_value in as_list(value_or_values)
    ]


def parse_jwk_set(text: str) -> dict[str, Any]:
    """Parse a JWK Set or a SPIFFE bundle. Leave out keys that do not verify tokens, such as certificate keys."""
    try:
        jwks = json.loads(text)["keys"]
        return {"keys": [jwk for jwk in map(read_usable_jwk, jwks) if jwk is not None]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RuleRefused("jwks", "must be a JWK Set") from None
