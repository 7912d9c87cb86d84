-- Records the use of an identifier that is accepted only once, and sometimes deletes expired identifiers. Returns one row. A
-- second use is a unique violation, which rolls back the transaction.
-- Parameters: organization_id; digest (32 bytes); expires_at (timestamptz): the instant from which the identifier is refused as
-- expired; at (timestamptz).
--
-- max-pages-read: 500, because one call in 16 deletes up to 64 expired identifiers, each by its primary key
select consume_identifier(
    %(organization_id)s::text,
    %(digest)s::bytea,
    %(expires_at)s::timestamptz,
    %(at)s::timestamptz
) as is_consumed
