-- Marks the codes of the demo's grants as redeemed, and sets the last use of each grant to the last use of its agent's
-- credentials. Returns no row.
-- Parameters: organization_id.
update grants
set
    -- Citus refuses to add an interval to a timestamptz column, because the result depends on the session's time zone.
    expires_at = (created_at at time zone 'UTC' + make_interval(days => days)) at time zone 'UTC',
    challenge = null,
    redirect_uri = null,
    last_used_at = coalesce(
        (
            select max(credentials.last_used_at)
            from credentials
            where credentials.organization_id = %(organization_id)s and credentials.agent_id = grants.agent_id
        ),
        created_at
    )
where organization_id = %(organization_id)s
