"""Verifies our access tokens and caches the result, because a signature costs more than the rest of most requests."""

from __future__ import annotations

import hashlib

from agentidp.config import LEEWAY
from agentidp.http.request_context import current_context
from agentidp.jose.access_token import AccessToken, verify_access_token
from agentidp.services import services

MAX_CACHED = 10_000
"""Maximum number of verified tokens in a process's cache, which take about 10 MB, and at most 30 MB."""

MAX_LENGTH = 2_000
"""Maximum number of characters of a cached token. A longer token would take up to 10 KB, or 20 KB by exchange."""


def verify_token(unverified_token: str, *, audience: str | None) -> AccessToken:
    """Return a token's verified claims, from the cache if possible. The database later checks revocation and the agent.

    :param audience: the required ``aud``; ``None`` accepts a token for any resource server.
    :raises TokenRefused: the token is not valid, for any reason.
    """
    app_services, at = services(), current_context().at
    token_cache = app_services.verified_tokens
    # The generation changes when a key is revoked, so that results for this key are no longer used.
    generation = app_services.keys.current().generation
    key = generation, audience, hashlib.sha256(unverified_token.encode("utf-8", "surrogateescape")).digest()
    token = token_cache.get(key)
    if token is None or token.expires_at <= at.timestamp() - LEEWAY:
        token = verify_access_token(
            unverified_token, app_services.keys.find, issuer=app_services.settings.issuer, audience=audience, at=at
        )
        if len(unverified_token) <= MAX_LENGTH:
            if len(token_cache) >= MAX_CACHED:
                token_cache.clear()
            token_cache[key] = token
    return token
