-- Suspends an organization, or ends its suspension. Returns the organization's row, or no row if it does not exist.
-- Parameters: organization_id; suspended_at (timestamptz): null ends the suspension.
--
-- for: operator
update organizations
set suspended_at = %(suspended_at)s::timestamptz
where organization_id = %(organization_id)s
returning {organization}
