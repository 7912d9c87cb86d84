-- Each alert target of an organization gets a name of its own, because files name targets by it. The oldest target with a name
-- keeps the name, and the names of the others get the target's id appended. There is no unique key, because servers of release
-- 1.0.0 allow equal names and would fail during the upgrade.
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
