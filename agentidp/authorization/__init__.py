"""The authorization endpoint (RFC 6749 section 3.1): people let agents act for them.

A person signs in at the organization's OpenID Connect provider, a delegation rule decides about the access, and the
person's consent becomes a grant (:mod:`agentidp.oauth.grants`).
"""
