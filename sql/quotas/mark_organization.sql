-- Notes the organization's own quotas in its row, which its tokens read. Returns no row. Parameters: organization_id.
update organizations
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
        where
            quotas.organization_id = %(organization_id)s
            and quotas.agent_id = '00000000-0000-0000-0000-000000000000'
    )
where organization_id = %(organization_id)s
