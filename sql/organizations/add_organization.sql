-- Creates an organization. Returns no row. Parameters: organization_id; name; at (timestamptz).
--
-- for: operator
insert into organizations (organization_id, name, created_at)
values (%(organization_id)s, %(name)s, %(at)s)
