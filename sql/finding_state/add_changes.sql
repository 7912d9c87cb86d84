-- Records changes of findings. Returns the ids of the changes, one row per change.
-- Parameters: organization_id; at (timestamptz); changes (jsonb): an array of objects with the members change_id, finding_id,
-- change, severity, changed_by and note.
--
-- citus: runs in several steps
insert into finding_changes (
    organization_id, finding_id, change_id, changed_at, change, severity, changed_by, note
)
select
    %(organization_id)s, finding_id, change_id, %(at)s::timestamptz, change, severity, changed_by, note
from jsonb_to_recordset(%(changes)s::jsonb) as change_rows (
    finding_id uuid,
    change_id uuid,
    change text,
    severity text,
    changed_by text,
    note text
)
returning change_id
