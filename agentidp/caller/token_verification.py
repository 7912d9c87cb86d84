"""Verifies our access tokens and caches the result, because a signature costs more than the rest of most requests."""

from __future__ import annotations

import hashlib

from agentidp.config import LEEWAY
from agentidp.http.request_context import current_context
from agentidp.jose.access_token import AccessToken, verify_access_token
from agentidp.services import services

MAX_CACHED = 10_000
"""Maximum number of verified tokens that a process caches. They take at most 30 MB."""

MAX_LENGTH = 2_000
"""Maximum number of characters of a token that is cached. A longer token could take 20 KB of memory."""


def verify_token(unverified_token: str, *, audience: str | None) -> AccessToken:
    """Return the claims of an authentic token that is valid now. Revocation is not checked here.

    :param audience: the required ``aud``; ``None`` accepts a token for any resource server.
    """
    app_services, at = services(), current_context().at
    token_cache = app_services.verified_tokens
    # The cache key contains the generation of the signing keys, so that no token outlives the revocation of its key.
    generation = app_services.keys.current().generation
    cache_key = generation, audience, hashlib.sha256(unverified_token.encode("utf-8", "surrogateescape")).digest()
    token = token_cache.get(cache_key)
    if token is None or token.expires_at <= at.timestamp() - LEEWAY:
        token = verify_access_token(
            unverified_token, app_services.keys.find_key, issuer=app_services.settings.issuer, audience=audience, at=at
        )
        if len(unverified_token) <= MAX_LENGTH:
            if len(token_cache) >= MAX_CACHED:
                token_cache.clear()
            token_cache[cache_key] = token
    return token
