-- Stores that the demo's agents have redeemed their codes and used their grants when they got their last tokens. Returns no row.
-- Parameters: organization_id.
update grants
set
    challenge = null,
    redirect_uri = null,
    last_used_at = coalesce(
        (
            select max(credentials.last_used_at)
            from credentials
            where credentials.organization_id = %(organization_id)s and credentials.agent_id = grants.agent_id
        ),
        created_at
    ),
    expires_at = created_at + make_interval(days => days)
where organization_id = %(organization_id)s
