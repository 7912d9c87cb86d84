-- Creates the demo organization unless it is there; waits for another process that is making it. One row where it
-- was created, else none. Parameters: organization_id; name; at (timestamptz).
insert into organizations (organization_id, name, created_at)
values (%(organization_id)s, %(name)s, %(at)s)
on conflict (organization_id) do nothing
returning organization_id
