-- Adds the OpenID provider of an organization. Returns the provider's row, or no row if the organization already has a provider.
-- Parameters: organization_id; openid_provider_id; version; issuer; client_id; sealed: the encrypted client secret, or null;
-- scopes; role_claim; administrators; viewers; at.
--
-- example: sealed=null; role_claim=null; scopes={}; administrators={}; viewers={}
insert into openid_providers (
    organization_id, openid_provider_id, version, issuer, client_id, sealed, scopes, role_claim, administrators, viewers,
    created_at, updated_at
)
values (
    %(organization_id)s, %(openid_provider_id)s, %(version)s, %(issuer)s, %(client_id)s, %(sealed)s, %(scopes)s,
    %(role_claim)s, %(administrators)s, %(viewers)s, %(at)s, %(at)s
)
on conflict (organization_id) do nothing
returning {openid_provider}
