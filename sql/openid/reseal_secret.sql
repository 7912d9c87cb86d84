-- Stores the client secret of an OpenID provider, encrypted under a new instance secret, unless the client secret was changed
-- meanwhile. Returns one row if the client secret was stored.
-- Parameters: organization_id; openid_provider_id; sealed: the encrypted secret; previous: the encrypted secret to replace.
--
-- for: operator
update openid_providers
set sealed = %(sealed)s
where
    organization_id = %(organization_id)s
    and openid_provider_id = %(openid_provider_id)s
    and sealed = %(previous)s
returning openid_provider_id
