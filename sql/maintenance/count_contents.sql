-- Returns the numbers of organizations, agents and tokens in the whole instance, if row-level security does not apply to the
-- current role. Returns one row.
select
    (select count(*) from organizations) as organizations,
    (select count(*) from agents) as agents,
    (select coalesce(sum(tokens), 0) from usage_daily)::bigint as tokens
