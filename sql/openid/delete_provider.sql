-- Deletes the OpenID provider of an organization. Returns the provider's row, or no row if there is none.
-- Parameters: organization_id; openid_provider_id.
delete from openid_providers
where organization_id = %(organization_id)s and openid_provider_id = %(openid_provider_id)s
returning {openid_provider}
