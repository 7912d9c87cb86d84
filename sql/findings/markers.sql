-- Returns the possible causes of a finding: the markers that overlap a period, and the newest audit events of the period about new
-- credentials, revoked credentials, changed scopes and ended tokens. One row per marker or event, earliest first: kind (of the
-- marker, or the event's action), starts_at, ends_at; agent_id (null: all agents); note.
-- Parameters: organization_id; since and until (timestamptz): the first and the last instant of the period; max_events: the
-- maximum number of events to search.
select kind, starts_at, ends_at, agent_id, note
from markers
where
    organization_id = %(organization_id)s
    and ends_at >= %(since)s::timestamptz
    and starts_at <= %(until)s::timestamptz
union all
select action, at, at, coalesce(after ->> 'agentId', before ->> 'agentId', subject)::uuid, null
from (
    select action, at, subject, before, after
    from audit_events
    where
        organization_id = %(organization_id)s
        and action in ('agent.changed', 'agent.tokens_ended', 'credential.created', 'credential.revoked')
    order by sequence desc
    limit %(max_events)s::integer
) as newest
where
    at >= %(since)s::timestamptz
    and at <= %(until)s::timestamptz
    and (before is not null or after is not null)
    and (action <> 'agent.changed' or before -> 'scopes' <> after -> 'scopes')
order by starts_at, kind
