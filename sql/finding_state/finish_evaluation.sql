-- Records that an evaluation of an organization's findings has been stored. Returns its instant.
-- Parameters: organization_id; at (timestamptz); first_day (date): findings of earlier days are unknown; not_computed (text[]):
-- the kinds that were not evaluated; took: the seconds of the evaluation.
update finding_evaluations
set
    evaluated_at = %(at)s::timestamptz,
    first_day = %(first_day)s::date,
    not_computed = %(not_computed)s::text[],
    seconds = %(took)s::double precision
where organization_id = %(organization_id)s
returning evaluated_at
