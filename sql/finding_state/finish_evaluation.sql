-- Records that an evaluation has been stored. Returns its instant. Parameters: organization_id; at (timestamptz);
-- first_day (date): from which on findings are known; not_computed (text[]): the kinds about which nothing is known;
-- took: the seconds that it took to compute.
update finding_evaluations
set
    evaluated_at = %(at)s::timestamptz,
    first_day = %(first_day)s::date,
    not_computed = %(not_computed)s::text[],
    seconds = %(took)s::double precision
where organization_id = %(organization_id)s
returning evaluated_at
