"""The authorization endpoint (RFC 6749 section 3.1): people let agents act for them.

The endpoint is the browser's way to a subject token. A person signs in at the organization's OpenID Connect provider, a
delegation rule decides, and the person's consent becomes a grant (:mod:`agentidp.oauth.grants`). The token endpoint
redeems the grant as a token exchange.
"""
