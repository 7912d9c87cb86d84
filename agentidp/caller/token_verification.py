"""Verifying an access token of ours, and remembering the result: a signature costs more than most requests need."""

from __future__ import annotations

import hashlib

from agentidp.config import LEEWAY
from agentidp.http.request_context import current_context
from agentidp.jose.access_token import AccessToken, verify_access_token
from agentidp.services import services

MAX_CACHED = 10_000
"""Verified tokens that a process remembers, about 10 MB, and 30 MB at most."""

MAX_LENGTH = 2_000
"""Characters of a token that is remembered. With the longest scopes one takes 10 KB, and by exchange 20 KB."""


def verified_token(unverified_token: str, *, audience: str | None) -> AccessToken:
    """Verify a token, or use the cached result. The database knows whether it is revoked and its agent active.

    :param audience: who must be the one in ``aud``; any resource server if ``None``.
    :raises TokenRefused: for every reason alike.
    """
    s, at = services(), current_context().at
    verified = s.verified_tokens
    # The generation changes with the published keys, so no result of a revoked key is used.
    generation = s.keys.current().generation
    key = generation, audience, hashlib.sha256(unverified_token.encode("utf-8", "surrogateescape")).digest()
    token = verified.get(key)
    if token is None or token.expires_at <= at.timestamp() - LEEWAY:
        token = verify_access_token(unverified_token, s.keys.find, issuer=s.settings.issuer, audience=audience, at=at)
        if len(unverified_token) <= MAX_LENGTH:
            if len(verified) >= MAX_CACHED:
                verified.clear()
            verified[key] = token
    return token
