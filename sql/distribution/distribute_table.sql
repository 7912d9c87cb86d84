-- Distributes a table over the workers by organization. Returns one row. Parameters: name; colocate_with: a table on whose
-- worker each organization's rows are put, or "none" for the first table.
select create_distributed_table(%(name)s::regclass, 'organization_id'::text, colocate_with => %(colocate_with)s::text)
