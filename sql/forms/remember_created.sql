-- Stores the id of the object that a form has created, with the form's key, which the same transaction has consumed. Returns no
-- row.
-- Parameters: organization_id; digest: the key's digest; created_id.
--
-- example: digest=\x01
update used_identifiers
set created_id = %(created_id)s
where organization_id = %(organization_id)s and digest = %(digest)s
