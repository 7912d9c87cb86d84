-- Distributes a table by organization. Returns one row. Parameters: name; colocate_with: a distributed table that keeps each
-- organization on the same worker, or "none" for the first table.
select create_distributed_table(%(name)s::regclass, 'organization_id'::text, colocate_with => %(colocate_with)s::text)
