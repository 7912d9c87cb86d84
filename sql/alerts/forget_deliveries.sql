-- Deletes old deliveries of all organizations, except deliveries that show that a target must still receive a finding's end. Such
-- a delivery is the last one that the target has accepted for the finding, and does not report the end. Returns no row.
-- Parameters: made_before: an instant; only deliveries that were made before it are deleted; kept_after: an earlier instant;
-- every delivery that was made before it is deleted, even one that shows that a target must still receive an end.
--
-- for: operator
delete from alert_deliveries
where created_at < %(made_before)s
    and (
        change in ('resolved', 'test')
        or delivered_at is null
        or created_at < %(kept_after)s
        or exists (
            select
            from alert_deliveries as later
            where later.organization_id = alert_deliveries.organization_id
                and later.finding_id = alert_deliveries.finding_id
                and later.target_id = alert_deliveries.target_id
                and later.created_at > alert_deliveries.created_at
                and later.delivered_at is not null
        )
    )
