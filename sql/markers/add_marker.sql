-- Deletes markers that ended long ago, and adds a marker. Returns the marker's row, or no row if the organization has the maximum
-- number of markers.
-- Parameters: organization_id, marker_id, kind, starts_at, ends_at, agent_id (null: every agent), note, at, max_markers;
-- ended_before (timestamptz): markers that ended before this instant are deleted.
--
-- example: marker_id=0a1b2c3d-0000-4000-8000-000000000001; kind=holiday; agent_id=null; max_markers=10000
with forgotten as (
    delete from markers where organization_id = %(organization_id)s and ends_at < %(ended_before)s::timestamptz
    returning marker_id
)
insert into markers (organization_id, marker_id, kind, starts_at, ends_at, agent_id, note, created_at)
select
    %(organization_id)s, %(marker_id)s::uuid, %(kind)s, %(starts_at)s::timestamptz, %(ends_at)s::timestamptz,
    %(agent_id)s::uuid, %(note)s, %(at)s
where
    (select count(*) from markers where organization_id = %(organization_id)s) - (select count(*) from forgotten)
    < %(max_markers)s::integer
returning {marker}
