-- Deletes the first audit events of an organization's chain. Returns one row: the number of deleted events.
-- Parameters: organization_id; sequence: the number of the last event to delete.
--
-- for: operator
with removed as (
    delete from audit_events where organization_id = %(organization_id)s and sequence <= %(sequence)s::bigint
    returning sequence
)
select count(*) as events from removed
