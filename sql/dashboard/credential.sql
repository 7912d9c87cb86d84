-- Returns the agent and the label of a credential that was not revoked before a period: agent_id; label (or null). Returns no row
-- if the organization has no such credential. Parameters: organization_id; credential_id; first: the first day of the period.
select agent_id, label
from credentials
where
    organization_id = %(organization_id)s
    and credential_id = %(credential_id)s
    and (revoked_at is null or revoked_at >= %(first)s::date::timestamp at time zone 'UTC')
