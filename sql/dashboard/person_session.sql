-- Returns the organization of a person who is signed in to the dashboard. One row; no row if the organization is suspended or
-- deleted, or if the session has ended.
-- Parameters: organization_id; jti: of the session.
select organizations.name as organization_name
from organizations
where
    organizations.organization_id = %(organization_id)s
    and is_active_organization(organizations.suspended_at)
    and not exists (
        select
        from revoked_tokens
        where revoked_tokens.organization_id = %(organization_id)s and revoked_tokens.jti = %(jti)s
    )
