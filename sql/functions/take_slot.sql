-- The lowest slot of an organization that no other transaction is counting in; it stays ours until commit. For the import of
-- usage by release 0.2.0; to be dropped in a later release.
create or replace function take_slot(organization_id text) returns smallint
    language sql volatile
    return coalesce(
        (
            select free.slot
            from generate_series(0, 15) as free (slot)
            -- generate_series counts up. With an "order by", all sixteen would be taken, to sort them.
            where pg_try_advisory_xact_lock(hashtext($1), free.slot)
            limit 1
        ),
        pg_backend_pid() % 16
    );
