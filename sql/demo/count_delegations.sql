-- Counts tokens with which agents act for a subject: half of the tokens of an agent that acts for another agent, and all tokens of
-- an agent that acts for people. The counters per credential include these tokens. Returns no row.
-- Parameters: organization_id; agent_ids (uuid[]); subject_agent_ids (uuid[]): the subject of each agent, which is null for people;
-- issuer: the issuer of the people.
insert into delegation_usage_daily (
    organization_id, day, agent_id, subject_agent_id, issuer, resource, slot, tokens
)
select
    usage.organization_id,
    usage.day,
    usage.agent_id,
    coalesce(actors.subject_agent_id, nil_uuid()),
    case when actors.subject_agent_id is null then %(issuer)s else '' end,
    usage.resource,
    usage.slot,
    case when actors.subject_agent_id is null then usage.tokens else (usage.tokens + 1) / 2 end
from credential_usage_daily as usage
join unnest(%(agent_ids)s::uuid[], %(subject_agent_ids)s::uuid[]) as actors (agent_id, subject_agent_id)
    on actors.agent_id = usage.agent_id
where usage.organization_id = %(organization_id)s
