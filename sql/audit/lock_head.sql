-- Locks the head of an organization's chain until the transaction ends. Returns one row: the sequence and the hash of the
-- last event, 0 and zeros if there is none yet. Parameters: organization_id; hash: the zeros.
insert into audit_heads (organization_id, sequence, hash)
values (%(organization_id)s, 0, %(hash)s::bytea)
-- Changes nothing, but waits for the transaction that holds the row, and then sees what that has written.
on conflict (organization_id) do update set sequence = audit_heads.sequence
returning sequence, hash
