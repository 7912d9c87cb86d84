-- Deletes the temporary credential of an operator's command. Returns no row. Parameters: organization_id; credential_id.
delete from credentials
where organization_id = %(organization_id)s and credential_id = %(credential_id)s
