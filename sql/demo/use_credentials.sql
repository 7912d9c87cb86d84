-- Sets the last use of each credential to the beginning of the last hour in which the credential got a token. Returns no row.
-- Parameters: organization_id.
update credentials
set last_used_at = uses.last_used_at
from (
    select
        usage.credential_id,
        max((usage.day + make_interval(hours => hours.number::integer - 1)) at time zone 'utc') as last_used_at
    from credential_usage_daily as usage
    cross join unnest(usage.tokens_by_hour) with ordinality as hours (tokens, number)
    where usage.organization_id = %(organization_id)s and hours.tokens > 0
    group by usage.credential_id
) as uses
where credentials.organization_id = %(organization_id)s and credentials.credential_id = uses.credential_id
