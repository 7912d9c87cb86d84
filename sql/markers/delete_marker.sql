-- Deletes a marker. Returns its row, or no row if there is no such marker.
-- Parameters: organization_id, marker_id.
delete from markers
where organization_id = %(organization_id)s and marker_id = %(marker_id)s
returning {marker}
