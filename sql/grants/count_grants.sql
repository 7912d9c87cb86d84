-- Returns the number of valid grants that have a refresh token, one row: grants.
-- Parameters: organization_id; at; agent_id, delegation_rule_id, resource and issuer: count only grants to this agent, by this
-- rule, for this resource or of people of this issuer; null for all; grant_id and subject: always null. The query
-- filtered_grants has these two parameters for grants/list_grants.
--
-- max-pages-read: 6000, because a count by resource or issuer reads all grants of the organization, at most 100,000
-- example: grant_id=null; subject=null; agent_id=null; delegation_rule_id=null; resource=null; issuer=null
with filtered as (
    {filtered_grants}
)
select count(*)::integer as grants
from filtered as grants
where
    {is_grant_in_use}
    and (%(agent_id)s::uuid is null or agent_id = %(agent_id)s::uuid)
    and (%(delegation_rule_id)s::uuid is null or delegation_rule_id = %(delegation_rule_id)s::uuid)
    and (%(resource)s::text is null or resource = %(resource)s::text)
    and (%(issuer)s::text is null or issuer = %(issuer)s::text)
