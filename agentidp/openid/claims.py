"""The subject, name, organization and role of a person, from the claims of an ID token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from agentidp.config.oidc import ANYONE, ORGANIZATION_ID, OidcSettings
from agentidp.http.errors import ApiError
from agentidp.http.schemas import MAX_NAME
from agentidp.http.text import in_one_line

VIEWER, ADMINISTRATOR = "viewer", "administrator"
"""The roles that a person can have in the dashboard."""

_SUBJECT = re.compile(r"[ -~]{1,255}")


class SignInRefused(ApiError):
    """A person cannot sign in. A page shows the message to the person."""

    code = "FORBIDDEN"

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, headers=headers)
        self.status = status


class NoAccess(SignInRefused):
    """403: the claims about a person give no access. *reason* is for the log and the audit trail."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(403, message)
        self.reason = reason


def merge_claims(claims: Mapping[str, Any], userinfo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims of an ID token, completed by claims that only the userinfo endpoint has returned."""
    merged_claims = {**userinfo, **claims}
    if claims.get("email") != userinfo.get("email"):
        # email_verified comes from the same response as the email address, because the ID token and the userinfo
        # endpoint may name different addresses.
        merged_claims["email_verified"] = (claims if "email" in claims else userinfo).get("email_verified")
    return merged_claims


def read_subject(claims: Mapping[str, Any]) -> str:
    """Return the claim ``sub``, the person's id at the provider (OpenID Connect Core section 2)."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise NoAccess("wrong subject", "Your account has no subject that can be used here.")
    return subject


def read_name(claims: Mapping[str, Any]) -> str | None:
    """Return a person's name or email address for display, or ``None`` if the claims contain neither."""
    for claim_name in ("name", "preferred_username", "email"):
        claim_value = claims.get(claim_name)
        if isinstance(claim_value, str) and (person_name := in_one_line(claim_value)[:MAX_NAME].rstrip()):
            return person_name
    return None


def format_identity(issuer: str, subject: str) -> str:
    """Return the subject and the issuer of a person, which together identify the person."""
    return f"{subject} at {issuer}"


def list_actor_fields(issuer: str, subject: str, name: str | None) -> tuple[str, str, str]:
    """Return the actor's type, name and display name with which audit events record a person."""
    identity = format_identity(issuer, subject)
    return "person", f"{identity} ({name})" if name else identity, name or subject


def read_organization_id(claims: Mapping[str, Any], settings: OidcSettings) -> str:
    """Return the ID of the only organization to which these claims assign a person, or raise :exc:`NoAccess`."""
    claim_values = read_strings(claims, settings.organization_claim)
    if settings.organizations:
        organization_ids = {settings.organizations[value] for value in claim_values if value in settings.organizations}
        if not organization_ids and ANYONE in settings.organizations:
            organization_ids = {settings.organizations[ANYONE]}
    else:
        organization_ids = {value for value in claim_values if ORGANIZATION_ID.fullmatch(value)}
    if not organization_ids:
        raise NoAccess("no organization", "Your account belongs to no organization here.")
    if len(organization_ids) > 1:
        raise NoAccess("several organizations", "Your account belongs to more than one organization here.")
    return organization_ids.pop()


def read_role(claims: Mapping[str, Any], settings: OidcSettings) -> str:
    """Return the role that these claims give a person in the dashboard, or raise :exc:`NoAccess` without a role."""
    values = read_strings(claims, settings.role_claim) | {ANYONE}
    if values & settings.administrators:
        return ADMINISTRATOR
    if values & settings.viewers:
        return VIEWER
    raise NoAccess("no role", "Your account has neither the role of a viewer nor that of an administrator here.")


def read_strings(claims: Mapping[str, Any], name: str | None) -> set[str]:
    """Return the strings in a claim, which is a string or a list.

    :param name: the name of the claim, or the dotted path to a nested claim; ``None`` for no claim.
    """
    if name is None:
        return set()
    # An email address counts only if it is verified, because some providers let anyone enter another person's address.
    if name == "email" and claims.get("email_verified") is not True:
        return set()
    claim_value: Any = claims
    for member_name in [name] if name in claims else name.split("."):
        claim_value = claim_value.get(member_name) if isinstance(claim_value, Mapping) else None
    claim_values: Iterable[Any] = claim_value if isinstance(claim_value, list) else [claim_value]
    # In the settings, ANYONE stands for every person and not for a value of a claim.
    return {claim_text for claim_text in claim_values if isinstance(claim_text, str) and claim_text != ANYONE}
