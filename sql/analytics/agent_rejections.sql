-- Returns an agent's failed authentications in a period, one row per UTC day, reason and network, newest day first: date; reason;
-- network; rejections: the number of failures; last_rejected_at (null: unknown). Returns one row of nulls if there are no
-- failures, and no row if the organization has no such agent. Parameters: organization_id; agent_id; first and last: the first
-- and the last day of the period.
--
-- max-pages-read: 500, for up to 201 rows per day of the organization
select
    to_char(rejected.day, 'YYYY-MM-DD') as date, rejected.reason, rejected.network, rejected.rejections, rejected.last_rejected_at
from agents
left join rejected_networks as rejected
    on
        rejected.organization_id = agents.organization_id
        and rejected.agent_id = agents.agent_id
        and rejected.day >= %(first)s::date
        and rejected.day <= %(last)s::date
where agents.organization_id = %(organization_id)s and agents.agent_id = %(agent_id)s
order by rejected.day desc, rejected.rejections desc, rejected.reason, rejected.network
