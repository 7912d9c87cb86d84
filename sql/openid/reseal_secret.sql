-- Stores the re-encrypted client secret of an OpenID provider, unless the secret was changed meanwhile. Returns one row if it was
-- stored. Parameters: organization_id, openid_provider_id, sealed; previous: the secret that was read.
--
-- for: operator
update openid_providers
set sealed = %(sealed)s
where
    organization_id = %(organization_id)s
    and openid_provider_id = %(openid_provider_id)s
    and sealed = %(previous)s
returning openid_provider_id
