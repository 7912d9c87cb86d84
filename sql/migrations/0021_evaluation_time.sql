-- How long the last evaluation of an organization's findings took, for the metrics. Null before the first.
alter table finding_evaluations add column seconds double precision;
