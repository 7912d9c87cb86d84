-- Returns the organization of a person who is signed in to the dashboard. One row; no row if the organization is suspended or
-- deleted, if the session has ended, or if the organization's own OpenID provider, at which the person has signed in, has changed.
-- Parameters: organization_id; jti: the session's id; provider_version: the version of the organization's provider at the
-- sign-in, or null if the person has signed in at the provider of the whole instance.
--
-- example: provider_version=null
select organizations.name as organization_name
from organizations
where
    organizations.organization_id = %(organization_id)s
    and is_active_organization(organizations.suspended_at)
    and (
        %(provider_version)s::uuid is null
        or exists (
            select
            from openid_providers
            where
                openid_providers.organization_id = %(organization_id)s
                and openid_providers.version = %(provider_version)s::uuid
        )
    )
    and not exists (
        select
        from revoked_tokens
        where revoked_tokens.organization_id = %(organization_id)s and revoked_tokens.jti = %(jti)s
    )
