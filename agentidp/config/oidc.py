"""Settings of the OpenID Connect provider through which people sign in to the dashboard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from agentidp.config.values import ConfigurationError, is_issuer, read_secret

ANYONE = "*"
"""The value of a setting that matches every value of a claim, and also a missing claim."""

PREFIX = "AGENTIDP_OIDC_"
MAX_ISSUER = 200
"""Maximum characters of an issuer, because each audit event of a person contains the issuer."""

ORGANIZATION_ID = re.compile(r"org-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Regular expression for the ID of an organization."""


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """Settings of the OpenID Connect provider.

    :param scopes: space-separated scopes, including ``openid``.
    :param label: the text of the button after "Sign in with".
    :param organization_claim: the claim that names the organization, or None if everyone belongs to the same
        organization.
    :param organizations: organization IDs by value of *organization_claim*; empty if the value is the ID itself.
    :param role_claim: the claim that determines the role, or None if everyone has the same role.
    :param administrators: values of the role claim that make an administrator, or :data:`ANYONE`.
    :param viewers: values of the role claim that make a viewer, or :data:`ANYONE`.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str = "openid profile email"
    label: str = "your company account"
    organization_claim: str | None = None
    organizations: Mapping[str, str] = field(default_factory=dict)
    role_claim: str | None = None
    administrators: frozenset[str] = frozenset()
    viewers: frozenset[str] = frozenset()

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> OidcSettings | None:
        """Return the settings in environment variables, or None if no variable with :data:`PREFIX` is set.

        :raises ConfigurationError: a variable is invalid or missing.
        """
        if not any(variable_name.startswith(PREFIX) for variable_name in env):
            return None
        settings = cls(
            issuer=_read_issuer(env, "AGENTIDP_OIDC_ISSUER"),
            client_id=_read_text(env, "AGENTIDP_OIDC_CLIENT_ID", "", 500),
            client_secret=_read_client_secret(env),
            scopes=_read_scopes(env, "AGENTIDP_OIDC_SCOPES"),
            label=_read_text(env, "AGENTIDP_OIDC_LABEL", cls.label, 60),
            organization_claim=_read_text(env, "AGENTIDP_OIDC_ORGANIZATION_CLAIM", "", 200) or None,
            organizations=_read_organizations(env, "AGENTIDP_OIDC_ORGANIZATIONS"),
            role_claim=_read_text(env, "AGENTIDP_OIDC_ROLE_CLAIM", "", 200) or None,
            administrators=_read_claim_values(env, "AGENTIDP_OIDC_ADMINISTRATORS"),
            viewers=_read_claim_values(env, "AGENTIDP_OIDC_VIEWERS"),
        )
        settings._check_completeness()
        return settings

    def _check_completeness(self) -> None:
        """Refuse settings with which nobody could sign in, or nobody could get an organization and a role."""
        if not self.issuer:
            raise ConfigurationError("AGENTIDP_OIDC_ISSUER must be set if another AGENTIDP_OIDC_ setting is")
        if not self.client_id:
            raise ConfigurationError("AGENTIDP_OIDC_CLIENT_ID must be set if AGENTIDP_OIDC_ISSUER is")
        if not self.client_secret:
            raise ConfigurationError(
                "AGENTIDP_OIDC_CLIENT_SECRET (or AGENTIDP_OIDC_CLIENT_SECRET_FILE) must be set if "
                "AGENTIDP_OIDC_ISSUER is"
            )
        if self.organization_claim is None and set(self.organizations) != {ANYONE}:
            raise ConfigurationError(
                "AGENTIDP_OIDC_ORGANIZATION_CLAIM must be set, "
                "unless AGENTIDP_OIDC_ORGANIZATIONS is *= and the ID of the one organization"
            )
        roles = self.administrators | self.viewers
        if not roles:
            raise ConfigurationError(
                "AGENTIDP_OIDC_ADMINISTRATORS or AGENTIDP_OIDC_VIEWERS must be set if AGENTIDP_OIDC_ISSUER is"
            )
        if self.role_claim is None and roles != {ANYONE}:
            raise ConfigurationError(
                "AGENTIDP_OIDC_ROLE_CLAIM must be set if AGENTIDP_OIDC_ADMINISTRATORS or AGENTIDP_OIDC_VIEWERS "
                "is anything but *"
            )


def _read_issuer(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if value and (not is_issuer(value) or len(value) > MAX_ISSUER):
        raise ConfigurationError(
            f"{name} must be an https URL of at most {MAX_ISSUER} characters without credentials, query and "
            "fragment (http is for localhost only), as the provider's /.well-known/openid-configuration has it"
        )
    return value


def _read_text(env: Mapping[str, str], name: str, default: str, maximum: int) -> str:
    value = env.get(name, default)
    if len(value) > maximum or value != value.strip() or not value.isprintable():
        raise ConfigurationError(f"{name} must be text of at most {maximum} characters without white space around it")
    return value


def _read_client_secret(env: Mapping[str, str]) -> str:
    variable_name, client_secret = read_secret(env, "AGENTIDP_OIDC_CLIENT_SECRET", "AGENTIDP_OIDC_CLIENT_SECRET_FILE")
    if not re.fullmatch(r"[ -~]{0,1000}", client_secret or ""):
        raise ConfigurationError(f"{variable_name} must hold at most 1000 printable ASCII characters")
    return client_secret or ""


def _read_scopes(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, OidcSettings.scopes)
    # RFC 6749 appendix A.4 defines the characters of a scope.
    if not re.fullmatch(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*", value) or "openid" not in value.split():
        raise ConfigurationError(f"{name} must be scopes with single blanks between, and openid among them")
    return value


def _read_claim_values(env: Mapping[str, str], name: str) -> frozenset[str]:
    setting_value = env.get(name)
    if setting_value is None:
        return frozenset()
    claim_values = [claim_value.strip() for claim_value in setting_value.split(",")]
    if not all(claim_value and claim_value.isprintable() for claim_value in claim_values):
        raise ConfigurationError(f"{name} must be values separated by commas, or * for any")
    return frozenset(claim_values)


def _read_organizations(env: Mapping[str, str], name: str) -> dict[str, str]:
    ids_by_claim_value: dict[str, str] = {}
    for assignment in _read_claim_values(env, name):
        claim_value, _, organization_id = (assignment_part.strip() for assignment_part in assignment.rpartition("="))
        if not claim_value or claim_value in ids_by_claim_value or not ORGANIZATION_ID.fullmatch(organization_id):
            raise ConfigurationError(
                f"{name} must be value=organization ID, for example acme=org-01234567-89ab-cdef-0123-456789abcdef, "
                "or several with commas between, each value once"
            )
        ids_by_claim_value[claim_value] = organization_id
    return ids_by_claim_value
