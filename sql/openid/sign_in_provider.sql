-- Returns the OpenID provider at which the people of an organization sign in, or no row if the organization is suspended or has no
-- provider of its own. Parameters: organization_id.
select {openid_provider}
from openid_providers
where
    organization_id = %(organization_id)s
    and exists (
        select
        from organizations
        where organizations.organization_id = %(organization_id)s and is_active_organization(organizations.suspended_at)
    )
