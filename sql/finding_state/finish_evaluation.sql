-- Records the last evaluation of an organization's findings. Returns the instant of the evaluation.
-- Parameters: organization_id; at (timestamptz): the instant of the evaluation; first_day (date): the first day whose findings
-- are stored; not_computed (text[]): the kinds of findings that could not be computed; took: the seconds that the computation
-- took.
update finding_evaluations
set
    evaluated_at = %(at)s::timestamptz,
    first_day = %(first_day)s::date,
    not_computed = %(not_computed)s::text[],
    seconds = %(took)s::double precision
where organization_id = %(organization_id)s
returning evaluated_at
