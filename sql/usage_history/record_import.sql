-- Records the import of a file. Returns one row with is_new: whether this is the first import of the file; imported_at: the time
-- of the first import.
-- Parameters: organization_id; digest: the SHA-256 of the file; at; records, tokens, requests, rejected: the sums of the file.
--
-- for: operator
insert into usage_imports (organization_id, digest, imported_at, records, tokens, requests, rejected)
values (%(organization_id)s, %(digest)s, %(at)s, %(records)s, %(tokens)s, %(requests)s, %(rejected)s)
-- This update changes no value, but it makes the statement return an existing row.
on conflict (organization_id, digest) do update set imported_at = usage_imports.imported_at
returning imported_at = %(at)s as is_new, imported_at
