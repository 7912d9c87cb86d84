-- Counts a failed authentication by the client's network and by the reason, and deletes the organization's rows that are older
-- than the retention period. Returns one row: the counted reason. It is "suspended organization", "suspended agent", "deleted
-- agent", "revoked credential" or "expired credential" if this applies, and otherwise the logged reason.
-- Parameters: organization_id; agent_id; day: of the failure in UTC; at (timestamptz): of the failure; secret_hash: the hash of
-- the secret that the client sent, or null; reason: the logged reason; network: text; most_rows: the maximum number of rows per
-- organization and day, beyond which one row counts all further failures; nobody: the agent_id of that row; keep_days: the number
-- of days to keep, today included.
--
-- citus: runs in several steps
-- example: network=198.51.100.0/24; reason=wrong secret; most_rows=200; keep_days=30
with forgotten as (
    delete from rejected_networks
    where organization_id = %(organization_id)s and day <= %(day)s::date - %(keep_days)s::integer
),
rejection as materialized (
    select coalesce(
        (
            select 'suspended organization' from organizations
            where organization_id = %(organization_id)s and suspended_at is not null
        ),
        (
            select case
                when deleted_at is not null then 'deleted agent'
                when status <> 'active' then 'suspended agent'
            end
            from agents
            where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
        ),
        (
            select 'revoked credential'
            from credentials where
                organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
                and secret_hash = %(secret_hash)s::bytea
                and revoked_at is not null
            limit 1
        ),
        (
            select 'expired credential'
            from credentials where
                organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
                and secret_hash = %(secret_hash)s::bytea
                and revoked_at is null
                and expires_at <= %(at)s
            limit 1
        ),
        %(reason)s::text
    ) as reason
),
placement as materialized (
    select
        reason,
        case
            when exists (
                select
                from rejected_networks
                where
                    organization_id = %(organization_id)s and day = %(day)s::date and agent_id = %(agent_id)s::uuid
                    and network = %(network)s::text and reason = rejection.reason
            ) then true
            else (
                select count(*) < %(most_rows)s::integer
                from (
                    select
                    from rejected_networks
                    where organization_id = %(organization_id)s and day = %(day)s::date limit %(most_rows)s::integer
                ) as rows_of_day
            )
        end as has_own_row
    from rejection
),
counted as (
    insert into rejected_networks as network_row (organization_id, day, agent_id, network, reason, rejections, last_rejected_at)
    select
        %(organization_id)s, %(day)s::date,
        case when has_own_row then %(agent_id)s::uuid else %(nobody)s::uuid end,
        case when has_own_row then %(network)s::text else 'other' end,
        case when has_own_row then reason else 'other' end,
        1,
        %(at)s
    from placement
    on conflict (organization_id, day, agent_id, network, reason) do update
    set rejections = network_row.rejections + 1, last_rejected_at = greatest(network_row.last_rejected_at, excluded.last_rejected_at)
)
select reason from rejection
