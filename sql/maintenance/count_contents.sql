-- What the whole instance contains, for a role that row-level security does not apply to. Returns one row.
-- Parameters: none.
--
-- for: operator
select
    (select count(*) from organizations) as organizations,
    (select count(*) from agents) as agents,
    (select coalesce(sum(tokens), 0) from usage_daily)::bigint as tokens
