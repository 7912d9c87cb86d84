-- Notes with an agent whether it has quotas, so that its tokens need not look for them. Returns no row.
-- Parameters: organization_id; agent_id.
update agents
set has_quota = not has_quota
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s::uuid
    and has_quota <> exists (
        select 1
        from quotas
        where quotas.organization_id = %(organization_id)s and quotas.agent_id = %(agent_id)s::uuid
    )
