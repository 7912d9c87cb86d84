-- Adds an event to an organization's chain of audit events, whose head the transaction has locked. Returns one row.
-- Parameters: organization_id; sequence; event_id; at (timestamptz); actor_type; actor; action; subject_type; subject;
-- before, after (JSON text or null); salt; content_hash; client_address, request_id (text or null); previous_hash; hash.
--
-- example: sequence=100001
with head as (
    update audit_heads
    set sequence = %(sequence)s::bigint, hash = %(hash)s::bytea
    where organization_id = %(organization_id)s
)
insert into audit_events (
    organization_id, sequence, event_id, at, actor_type, actor, action, subject_type, subject, before, after, salt,
    content_hash, client_address, request_id, previous_hash, hash
)
values (
    %(organization_id)s, %(sequence)s::bigint, %(event_id)s::uuid, %(at)s::timestamptz, %(actor_type)s, %(actor)s,
    %(action)s, %(subject_type)s, %(subject)s, %(before)s::jsonb, %(after)s::jsonb, %(salt)s::bytea,
    %(content_hash)s::bytea, %(client_address)s, %(request_id)s, %(previous_hash)s::bytea, %(hash)s::bytea
)
returning sequence
