-- Each alert target of an organization gets a name of its own, because a file names targets by it: of several targets with the same
-- name, the oldest keeps the name, and the id follows the name of the others. The servers keep names unique. A unique key would
-- let servers of release 1.0.0, which do not, fail during the upgrade.
update alert_targets
set name = left(name, 91) || ' ' || left(target_id::text, 8)
where exists (
    select
    from alert_targets as older
    where
        older.organization_id = alert_targets.organization_id
        and older.name = alert_targets.name
        and (older.created_at, older.target_id) < (alert_targets.created_at, alert_targets.target_id)
)
