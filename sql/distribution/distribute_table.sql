-- Distributes a table over the workers by organization. Returns one row. Parameters: name; colocate_with: a distributed table, or
-- "none" for the first table. The rows of an organization in both tables are put on one worker.
select create_distributed_table(%(name)s::regclass, 'organization_id'::text, colocate_with => %(colocate_with)s::text)
