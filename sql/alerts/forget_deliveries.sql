-- Deletes the deliveries of all organizations that were created before made_before. Per finding and target, keeps the last accepted
-- delivery if it does not report the finding's end and was not created before kept_after, because this delivery shows that the
-- target must still receive the end. Returns no row.
-- Parameters: made_before; kept_after: an earlier instant than made_before.
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
