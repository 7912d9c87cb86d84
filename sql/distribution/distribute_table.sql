-- Distributes a table by organization. Returns one row. Parameters: name; colocate_with: a distributed table whose
-- organizations it is to be beside, or "none" for the first.
--
-- for: operator
select create_distributed_table(%(name)s::regclass, 'organization_id'::text, colocate_with => %(colocate_with)s::text)
