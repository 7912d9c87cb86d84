-- The organization of a client. One row, or none for an unknown client. Parameters: client_id.
select organization_id from clients where client_id = %(client_id)s
