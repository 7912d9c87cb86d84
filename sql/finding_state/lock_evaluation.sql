-- Locks an organization's row about its evaluations until the transaction ends, so that one evaluation is stored at a
-- time. One row: when the last one was (null if there was none), and the day from which on findings are known.
-- Parameters: organization_id; since (date): the first day that is looked at now.
insert into finding_evaluations (organization_id, first_day, not_computed)
values (%(organization_id)s, %(since)s::date, '{}')
on conflict (organization_id) do update set first_day = finding_evaluations.first_day
returning evaluated_at, first_day
