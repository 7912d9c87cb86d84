-- Returns a page of an organization's audit events that pass the filters, one row per event, newest first. A filter that is null
-- passes all events.
-- Parameters: organization_id; below: the page has only lower sequences; actor; action; subject; since, until (timestamptz);
-- limit.
--
-- example: below=50000; actor=null; action=null; subject=null; since=null; until=null
select
    organization_id, sequence, event_id, at, actor_type, actor, action, subject_type, subject, before, after, salt,
    content_hash, client_address, request_id, previous_hash, hash
from audit_events
where
    organization_id = %(organization_id)s
    and sequence < %(below)s::bigint
    and (%(actor)s::text is null or actor = %(actor)s::text)
    and (%(action)s::text is null or action = %(action)s::text)
    and (%(subject)s::text is null or subject = %(subject)s::text)
    and (%(since)s::timestamptz is null or at >= %(since)s::timestamptz)
    and (%(until)s::timestamptz is null or at < %(until)s::timestamptz)
order by sequence desc
limit %(limit)s
