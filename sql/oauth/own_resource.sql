-- Returns one row: is_own: whether a resource identifier belongs to this server.
-- Parameters: resource: the identifier in any spelling; own_identifiers: the identifiers of this server.
--
-- citus: no shard, because it reads no table
select exists (
    select
    from unnest(%(own_identifiers)s::text[]) as own (resource)
    where resource_key(own.resource) = resource_key(%(resource)s::text)
) as is_own
