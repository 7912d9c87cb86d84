-- Returns the numbers of organizations, agents and tokens in the whole instance. Run it as a role to which row-level security does
-- not apply. Returns one row.
select
    (select count(*) from organizations) as organizations,
    (select count(*) from agents) as agents,
    (select coalesce(sum(tokens), 0) from usage_daily)::bigint as tokens
