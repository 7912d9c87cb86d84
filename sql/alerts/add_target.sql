-- Adds an alert target. Returns the target's row, or no row if the organization has the maximum number of targets.
-- Parameters: organization_id, target_id, name, type; destination: the public part of the address; sealed: the encrypted address;
-- kinds (null: every kind); owners (null: every agent); minimum_severity, enabled, at; max_targets.
--
-- example: target_id=0a1b2c3d-0000-4000-8000-000000000001; name=new; type=webhook; minimum_severity=info
insert into alert_targets (
    organization_id, target_id, name, type, destination, sealed, kinds, owners, minimum_severity, enabled, created_at,
    updated_at
)
select
    %(organization_id)s, %(target_id)s, %(name)s, %(type)s, %(destination)s, %(sealed)s, %(kinds)s::text[],
    %(owners)s::text[], %(minimum_severity)s, %(enabled)s, %(at)s, %(at)s
where (select count(*) from alert_targets where organization_id = %(organization_id)s) < %(max_targets)s
returning {alert_target}
