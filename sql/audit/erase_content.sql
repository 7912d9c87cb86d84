-- Erases the content of the audit events about the given subjects. If a subject is an agent, this includes the events about its
-- credentials, markers and findings. The chain can still be verified. Returns one row: the number of changed events.
-- Parameters: organization_id; subjects (text[]), or null for all events.
--
-- for: operator
with erased as (
    update audit_events
    set before = null, after = null, salt = null
    where
        organization_id = %(organization_id)s
        and (
            %(subjects)s::text[] is null
            or subject = any (%(subjects)s::text[])
            or before ->> 'agentId' = any (%(subjects)s::text[])
            or after ->> 'agentId' = any (%(subjects)s::text[])
            or after ->> 'about' = any (%(subjects)s::text[])
        )
        -- The content of audit.pruned events is kept, because it has the hash with which the rest of the chain is verified.
        and action <> 'audit.pruned'
        and salt is not null
    returning sequence
)
select count(*) as events from erased
