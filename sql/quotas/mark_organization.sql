-- Notes with an organization whether it has quotas of its own, so that its tokens need not look for them. Returns no row.
-- Parameters: organization_id.
update organizations
set has_quota = not has_quota
where
    organization_id = %(organization_id)s
    and has_quota <> exists (
        select 1
        from quotas
        where
            quotas.organization_id = %(organization_id)s
            and quotas.agent_id = '00000000-0000-0000-0000-000000000000'
    )
