-- The quotas of an agent or organization in its own row, which a token reads anyway: reading them from the table quotas was a
-- third of what they cost. Null if it has none. Otherwise the tokens of the quotas an hour, a day and a month: null for one that
-- there is not, negative if it is not enforced. Then other_days_of of the quota a month, in days since 2000-01-01, and other_days,
-- if they are set. Changed with the rows of quotas, in the same transaction.
alter table agents add column quotas bigint[];
alter table organizations add column quotas bigint[];
grant update (quotas) on organizations to agentidp_service;

update agents
set quotas = made.quotas
from (
    select
        organization_id,
        agent_id,
        array[
            max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'hour'),
            max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'day'),
            max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'month')
        ] as quotas
    from quotas
    group by organization_id, agent_id
) as made
where agents.organization_id = made.organization_id and agents.agent_id = made.agent_id;

update organizations
set quotas = made.quotas
from (
    select
        organization_id,
        agent_id,
        array[
            max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'hour'),
            max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'day'),
            max(case when is_enforced then tokens else -tokens end) filter (where quota_window = 'month')
        ] as quotas
    from quotas
    group by organization_id, agent_id
) as made
where organizations.organization_id = made.organization_id and made.agent_id = '00000000-0000-0000-0000-000000000000';

alter table agents drop column has_quota;
-- So that a check of the rights does not miss that of a column that is gone.
revoke update (has_quota) on organizations from agentidp_service;
alter table organizations drop column has_quota;
drop function if exists check_quotas(text, uuid, date, integer, boolean, boolean);
drop function if exists count_refusal(text, uuid, date, integer, text, text, smallint, integer, integer);
