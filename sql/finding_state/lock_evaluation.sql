-- Locks the row of an organization's evaluations until the transaction ends, so that only one evaluation is stored at a time.
-- Returns one row with evaluated_at: the instant of the last evaluation (null before the first one); first_day: the first day
-- whose findings are stored.
-- Parameters: organization_id; since (date): the first day of this evaluation.
insert into finding_evaluations (organization_id, first_day, not_computed)
values (%(organization_id)s, %(since)s::date, '{}')
on conflict (organization_id) do update set first_day = finding_evaluations.first_day
returning evaluated_at, first_day
