"""Public platforms that issue tokens, and the claims that tell their customers apart."""

from __future__ import annotations

import re
from collections.abc import Mapping

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"

CUSTOMER_CLAIMS: Mapping[str, tuple[str, ...]] = {
    GITHUB: ("repository_id", "repository_owner_id", "repository", "repository_owner"),
    GITLAB: ("project_id", "namespace_id", "project_path", "namespace_path"),
    "https://app.terraform.io": (
        "terraform_workspace_id",
        "terraform_organization_id",
        "terraform_project_id",
        "terraform_organization_name",
    ),
    "https://accounts.google.com": ("email", "hd"),
}
"""Claims that identify the customer for whom a token was issued, per issuer at which anyone can be a customer. Ids come
before names, because a name can pass to another customer."""

_OPEN_ISSUERS = {
    *CUSTOMER_CLAIMS,
    "https://agent.buildkite.com",
    "https://api.cursor.com",
    "https://api.login.yahoo.com",
    "https://api.pulumi.com/oidc",
    "https://api.pulumi.com/oidc/v2",
    "https://app.devin.ai",
    "https://app.warp.dev",
    "https://appleid.apple.com",
    "https://discord.com",
    "https://federation.namespaceapis.com",
    "https://github.com/login/oauth",
    "https://id.twitch.tv/oauth2",
    "https://identity.depot.dev",
    "https://issuer.enforce.dev",
    "https://login.app.env0.com",
    "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
    "https://login.salesforce.com",
    "https://oidc.codefresh.io",
    "https://oidc.modal.com",
    "https://oidc.vercel.com",
    "https://scalr.io",
    "https://slack.com",
    "https://www.facebook.com",
    "https://www.linkedin.com/oauth",
}
"""The issuers, without a slash at the end, from which anyone can get tokens."""

SUBJECT_PREFIXES: Mapping[str, tuple[str, ...]] = {
    GITHUB: ("repo:", *(f"{name}:" for name in CUSTOMER_CLAIMS[GITHUB])),
    GITLAB: ("project_path:", *(f"{name}:" for name in CUSTOMER_CLAIMS[GITLAB])),
    "https://app.terraform.io": ("organization:",),
}
"""Prefixes of subjects, by issuer. The name or id of a customer follows the prefix."""

PASSING_NAMES: Mapping[str, tuple[str, re.Pattern[str]]] = {
    GITHUB: (
        "names of owners and repositories",
        re.compile(r"repo:[^/@:]+@[0-9]+/([^/@:]+@[0-9]+:|\*)|repository(_owner)?_id:"),
    ),
    GITLAB: ("paths of groups and projects", re.compile(r"(project|namespace)_id:")),
}
"""Names that another customer can take over, by issuer: a description, and a pattern of subjects with ids instead."""


def is_open_issuer(issuer: str) -> bool:
    """Return whether anybody can have an account at an issuer."""
    return issuer.rstrip("/") in _OPEN_ISSUERS
