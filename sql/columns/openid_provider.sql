-- The columns of an OpenID provider that statements return. A statement includes this list as {openid_provider}.
openid_provider_id, version, issuer, client_id, sealed, scopes, role_claim, administrators, viewers, created_at, updated_at
