-- Renames an organization. Returns its row, or none if it does not exist.
-- Parameters: organization_id; name.
--
-- example: name=changed
update organizations
set name = %(name)s
where organization_id = %(organization_id)s
returning {organization}
