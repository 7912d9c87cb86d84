-- Remembers that a file was imported. One row: whether it is new, and when it was imported first.
-- Parameters: organization_id; digest: SHA-256 of the file; at; records, tokens, requests, rejected: its sums.
--
-- for: operator
insert into usage_imports as known (organization_id, digest, imported_at, records, tokens, requests, rejected)
values (%(organization_id)s, %(digest)s, %(at)s, %(records)s, %(tokens)s, %(requests)s, %(rejected)s)
-- Changes nothing, and returns the row that is there.
on conflict (organization_id, digest) do update set imported_at = known.imported_at
returning imported_at = %(at)s as is_new, imported_at
