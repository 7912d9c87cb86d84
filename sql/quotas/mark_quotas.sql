-- Copies the quotas of an agent or of the organization into the row of the agent or organization, which is read for each token.
-- Returns no row.
-- Parameters: organization_id; agent_id: nil for the organization.
with marked as (
    select
        -- The update of organizations compares this column with the nil UUID. If it compared the parameter, Citus would see
        -- beforehand that no organization is changed, and would run neither of the two updates.
        %(agent_id)s::uuid as agent_id,
        case
            when count(*) > 0 then array[
                max(signed_quota(tokens, is_enforced)) filter (where quota_window = 'hour'),
                max(signed_quota(tokens, is_enforced)) filter (where quota_window = 'day'),
                max(signed_quota(tokens, is_enforced)) filter (where quota_window = 'month')
            ]
        end as quotas
    from quotas
    where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
),

of_organization as (
    update organizations
    set quotas = marked.quotas
    from marked
    where organizations.organization_id = %(organization_id)s and marked.agent_id = nil_uuid()
)

update agents
set quotas = marked.quotas
from marked
where agents.organization_id = %(organization_id)s and agents.agent_id = %(agent_id)s::uuid
