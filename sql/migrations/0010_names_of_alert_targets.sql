-- Makes the names of an organization's alert targets unique, because files refer to targets by name. Appends the beginning of the
-- target's id to the name, except for the oldest target with this name. There is no unique key, because servers of release 1.0.0
-- allow equal names and would fail during the upgrade.
update alert_targets
set name = left(alert_targets.name, 91) || ' ' || left(alert_targets.target_id::text, 8)
from (
    select
        organization_id, target_id,
        row_number() over (partition by organization_id, name order by created_at, target_id) as place
    from alert_targets
) as numbered
where
    numbered.organization_id = alert_targets.organization_id
    and numbered.target_id = alert_targets.target_id
    and numbered.place > 1
