-- Consumes an identifier that is accepted once, and sometimes deletes some that have expired. Returns one row; a second
-- use is a unique violation, which undoes all that the transaction does.
-- Parameters: organization_id; digest (32 bytes); expires_at (timestamptz): from then on it is refused anyway;
-- at (timestamptz).
--
-- pages: 500, one use in 16 deletes up to 64 expired identifiers, each by its key
select consume_identifier(
    %(organization_id)s::text,
    %(digest)s::bytea,
    %(expires_at)s::timestamptz,
    %(at)s::timestamptz
) as is_consumed
