-- Notes the quotas of an agent in its row, which its tokens read. Returns no row. Parameters: organization_id; agent_id.
update agents
set
    quotas = (
        select
            case
                when count(*) > 0 then array[
                    max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'hour'),
                    max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'day'),
                    max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'month'),
                    max(other_days_of - date '2000-01-01') filter (where quota_window = 'month'),
                    max(other_days) filter (where quota_window = 'month')
                ]
            end
        from quotas
        where quotas.organization_id = %(organization_id)s and quotas.agent_id = %(agent_id)s::uuid
    )
where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
