-- Consumes the key of a form that creates something: stores the key's digest in the table used_identifiers, and sometimes deletes
-- expired identifiers from this table. Returns one row with created_id: null or, if the key was consumed before, the id of the
-- object that the form has created. If the key was consumed before, nothing changes.
-- Parameters: organization_id; digest (32 bytes); expires_at (timestamptz): the instant from which the key is refused as too old;
-- at (timestamptz).
--
-- max-pages-read: 500, because one call in 16 deletes up to 64 expired identifiers, each by its primary key
select consume_form_key(
    %(organization_id)s::text,
    %(digest)s::bytea,
    %(expires_at)s::timestamptz,
    %(at)s::timestamptz
) as created_id
