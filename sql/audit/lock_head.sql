-- Locks the head of an organization's chain of audit events until the transaction ends. Returns one row: the sequence and the hash
-- of the last event, or 0 and a hash of zeros if the chain has no event. Parameters: organization_id; hash: the hash of zeros.
insert into audit_heads (organization_id, sequence, hash)
values (%(organization_id)s, 0, %(hash)s::bytea)
-- The update changes nothing, but waits for a transaction that has locked the row, and returns what that transaction has written.
on conflict (organization_id) do update set sequence = audit_heads.sequence
returning sequence, hash
