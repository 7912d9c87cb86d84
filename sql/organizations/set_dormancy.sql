-- Sets after how many days a dormant agent of an organization is suspended. Returns its row, or none if it does not exist.
-- Parameters: organization_id; suspend_dormant_after_days: null if none is.
update organizations
set suspend_dormant_after_days = %(suspend_dormant_after_days)s::integer
where organization_id = %(organization_id)s
returning {organization}
