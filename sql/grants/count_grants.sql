-- Returns the number of valid grants that have a refresh token, one row: grants.
-- Parameters: organization_id; at; agent_id, delegation_rule_id, resource and issuer: count only grants to this agent, by this
-- rule, for this resource or of people of this issuer; null for all.
--
-- pages: 6000, by resource or issuer it reads the grants of the organization, at most 100,000, and its agents
-- example: agent_id=null; delegation_rule_id=null; resource=null; issuer=null
with filtered as (
    -- Only the select for the first filter that is not null returns rows. A condition in it that is always true lets the planner
    -- use the partial index with the same condition.
    select {grant}
    from grants
    where
        organization_id = %(organization_id)s
        and agent_id = %(agent_id)s::uuid and agent_id >= '00000000-0000-0000-0000-000000000000'
    union all
    select {grant}
    from grants
    where
        organization_id = %(organization_id)s
        and delegation_rule_id = %(delegation_rule_id)s::uuid
        and delegation_rule_id >= '00000000-0000-0000-0000-000000000000'
        and %(agent_id)s::uuid is null
    union all
    select {grant}
    from grants
    where
        organization_id = %(organization_id)s
        and num_nonnulls(%(agent_id)s::uuid, %(delegation_rule_id)s::uuid) = 0
)
select count(*)::integer as grants
from filtered as grants
where
    {is_grant_in_use}
    and (%(agent_id)s::uuid is null or agent_id = %(agent_id)s::uuid)
    and (%(delegation_rule_id)s::uuid is null or delegation_rule_id = %(delegation_rule_id)s::uuid)
    and (%(resource)s::text is null or resource = %(resource)s::text)
    and (%(issuer)s::text is null or issuer = %(issuer)s::text)
