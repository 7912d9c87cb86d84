-- Returns the next audit events of an organization's chain, in the order of the chain, one row per event.
-- Parameters: organization_id; after: the sequence number of the last event that the caller already has, 0 for none; limit.
--
-- example: after=0
select
    organization_id, sequence, event_id, at, actor_type, actor, action, subject_type, subject, before, after, salt,
    content_hash, client_address, request_id, previous_hash, hash
from audit_events
where organization_id = %(organization_id)s and sequence > %(after)s::bigint
order by sequence
limit %(limit)s
