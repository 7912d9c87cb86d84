-- Returns the valid grants of people, newest first. One row per grant: its columns, agent_name and rule_name. Leaves out grants
-- whose authorization code no client has redeemed.
-- Parameters: organization_id; at; grant_id, agent_id, delegation_rule_id and subject: returns only this grant, or grants to this
-- agent, by this rule or of this person; null for all; before_at (timestamptz), before_id: created_at and grant_id in the last row
-- of the previous page, or null; limit.
--
-- max-pages-read: 6000, because a list without a filter reads all grants of the organization, at most 100,000
-- example: grant_id=null; agent_id=null; delegation_rule_id=null; subject=null
with filtered as (
    {filtered_grants}
)
select
    {grant},
    (
        select agents.name
        from agents
        where agents.organization_id = %(organization_id)s and agents.agent_id = grants.agent_id
    ) as agent_name,
    (
        select delegation_rules.name
        from delegation_rules
        where
            delegation_rules.organization_id = %(organization_id)s
            and delegation_rules.delegation_rule_id = grants.delegation_rule_id
    ) as rule_name
from filtered as grants
where
    {is_grant_in_use}
    and (%(grant_id)s::uuid is null or grant_id = %(grant_id)s::uuid)
    and (%(agent_id)s::uuid is null or agent_id = %(agent_id)s::uuid)
    and (%(delegation_rule_id)s::uuid is null or delegation_rule_id = %(delegation_rule_id)s::uuid)
    and (%(subject)s::text is null or subject = %(subject)s::text)
    and (%(before_at)s::timestamptz is null or (created_at, grant_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid))
order by created_at desc, grant_id desc
limit %(limit)s
