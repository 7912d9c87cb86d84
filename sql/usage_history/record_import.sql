-- Records the import of a file. Returns one row: is_new: whether the file was not imported before; imported_at: the instant of
-- its first import.
-- Parameters: organization_id; digest: the SHA-256 of the file; at; records, tokens, requests, rejected: the sums of the file.
--
-- for: operator
insert into usage_imports as known (organization_id, digest, imported_at, records, tokens, requests, rejected)
values (%(organization_id)s, %(digest)s, %(at)s, %(records)s, %(tokens)s, %(requests)s, %(rejected)s)
-- The update changes nothing. It makes the statement return the existing row.
on conflict (organization_id, digest) do update set imported_at = known.imported_at
returning imported_at = %(at)s as is_new, imported_at
