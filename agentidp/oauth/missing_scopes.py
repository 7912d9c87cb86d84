"""Explain ``invalid_scope``: find and describe the requested scopes that a token cannot have."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

from agentidp.db.organization import OrganizationDatabase
from agentidp.scopes import SCOPES

_OWN_API, _ID_JAG = "this API", "the ID-JAG"
_PARTIES = (_OWN_API, "the resource server", "the agent", "the subject", "the delegation rule", "the grant", _ID_JAG)
"""Parties that limit the scope of a token. An error's description names the first party that lacks a scope."""

_MAX_NAMED = 5
"""Maximum number of missing scopes that an error's description names for each party, such as the agent."""


def explain_missing_scopes(database: OrganizationDatabase, parameters: Mapping[str, Any], *, has_subject: bool) -> str:
    """Return the description of ``invalid_scope``: the party that lacks each scope, and what the client can change."""
    missing_by_party = find_missing_scopes(database, parameters)
    all_missing_scopes = {*itertools.chain(*missing_by_party.values())}
    sentences = [describe_missing_scopes(missing_by_party)]
    if _OWN_API in missing_by_party:
        sentences.append("for a scope of a resource server, send the parameter resource as well")
    elif not has_subject and parameters["resource"] and not all_missing_scopes.isdisjoint(SCOPES):
        sentences.append("for a scope of this API, leave out the parameter resource")
    if any("," in scope for scope in all_missing_scopes):
        sentences.append("scopes are separated by blanks")
    return "; ".join(sentences)


def find_missing_scopes(database: OrganizationDatabase, parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the requested scopes that a token cannot have, by the party that lacks them.

    :param parameters: the parameters of the statement that issues the token. Only a token exchange has ``ancestors``
        and ``max_scopes``.
    """
    id_names = ("agent_id", "resource", "subject_agent_id", "rule_id", "grant_id")
    party_ids = {id_name: parameters.get(id_name) for id_name in id_names}
    party_rows = database.fetch("oauth/scope_limits", **party_ids)
    scopes_by_party: dict[str, Collection[str]] = {party_row.holder: party_row.scopes for party_row in party_rows}
    if parameters["resource"] is None:
        scopes_by_party[_OWN_API] = SCOPES
    if parameters.get("max_scopes") is not None:
        scopes_by_party[_ID_JAG] = parameters["max_scopes"]
    # A request without scopes requests all scopes of its grant or, in an exchange, of the resource server.
    requested_scopes = (
        parameters["scope"] or scopes_by_party.get("the grant") or scopes_by_party.get("the resource server", ())
    )
    missing_by_party: dict[str, list[str]] = {}
    for scope in requested_scopes:
        party = next((party for party in _PARTIES if scope not in scopes_by_party.get(party, requested_scopes)), None)
        if party is not None:
            missing_by_party.setdefault(party, []).append(scope)
    return missing_by_party or _find_scopes_missing_in_ancestors(database, requested_scopes, parameters)


def _find_scopes_missing_in_ancestors(
    database: OrganizationDatabase, requested_scopes: Collection[str], parameters: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Return ``{"an exchanged token": missing_scopes}``, or ``{}`` if no exchanged token lacks a scope."""
    ancestors = parameters.get("ancestors", "[]")
    if ancestors == "[]":
        return {}
    resource = parameters["resource"]
    [limit_row] = database.fetch(
        "oauth/delegated_scopes", resource=resource, scopes=[*requested_scopes], ancestors=ancestors
    )
    delegated_scopes = requested_scopes if limit_row.scopes is None else limit_row.scopes
    missing_scopes = [scope for scope in requested_scopes if scope not in delegated_scopes]
    return {"an exchanged token": missing_scopes} if missing_scopes else {}


def describe_missing_scopes(missing_scopes: Mapping[str, list[str]]) -> str:
    """Describe the result of :func:`find_missing_scopes` in a sentence for an error."""
    sentences = [
        f"{party} does not have the scope {', '.join(scopes[:_MAX_NAMED])}"
        + (f" and {len(scopes) - _MAX_NAMED} more" if len(scopes) > _MAX_NAMED else "")
        for party, scopes in missing_scopes.items()
    ]
    return "; ".join(sentences) or "the resource server has no scope"
