-- Selects grants by one filter: the first of grant_id, agent_id, delegation_rule_id and subject that is not null. The statement
-- that includes this query as {filtered_grants} applies the other filters to the rows. Conditions that are always true, such as
-- agent_id >= the nil UUID, repeat the condition of a partial index, because the planner uses the index only then.
-- Parameters: organization_id; grant_id, agent_id, delegation_rule_id and subject: the filters.
select {grant}
from grants
where organization_id = %(organization_id)s and grant_id = %(grant_id)s::uuid
union all
select {grant}
from grants
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s::uuid and agent_id >= '00000000-0000-0000-0000-000000000000'
    and %(grant_id)s::uuid is null
union all
select {grant}
from grants
where
    organization_id = %(organization_id)s
    and delegation_rule_id = %(delegation_rule_id)s::uuid
    and delegation_rule_id >= '00000000-0000-0000-0000-000000000000'
    and num_nonnulls(%(grant_id)s::uuid, %(agent_id)s::uuid) = 0
union all
select {grant}
from grants
where
    organization_id = %(organization_id)s
    and subject = %(subject)s::text and expires_at > '-infinity'
    and num_nonnulls(%(grant_id)s::uuid, %(agent_id)s::uuid, %(delegation_rule_id)s::uuid) = 0
union all
select {grant}
from grants
where
    organization_id = %(organization_id)s
    and num_nonnulls(%(grant_id)s::uuid, %(agent_id)s::uuid, %(delegation_rule_id)s::uuid, %(subject)s::text) = 0
