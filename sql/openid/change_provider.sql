-- Changes the OpenID provider of an organization, except its issuer. Returns the provider's row, or no row if there is none.
-- Parameters: organization_id; openid_provider_id; version: the new version; client_id; sealed: the encrypted client secret, or
-- null; scopes; role_claim; administrators; viewers; at.
--
-- example: sealed=null; role_claim=null; scopes={}; administrators={}; viewers={}
update openid_providers
set
    version = %(version)s,
    client_id = %(client_id)s,
    sealed = %(sealed)s,
    scopes = %(scopes)s,
    role_claim = %(role_claim)s,
    administrators = %(administrators)s,
    viewers = %(viewers)s,
    updated_at = %(at)s
where organization_id = %(organization_id)s and openid_provider_id = %(openid_provider_id)s
returning {openid_provider}
