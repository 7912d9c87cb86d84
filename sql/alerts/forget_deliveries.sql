-- Deletes deliveries of all organizations that were made before made_before, except a target's last accepted delivery for a finding
-- whose end the target has not accepted. That delivery shows that the target must still receive the end. Deliveries that were made
-- before kept_after, an earlier instant, are all deleted. Returns no row.
-- Parameters: made_before, kept_after.
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
