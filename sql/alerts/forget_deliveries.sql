-- Deletes the deliveries that were created before made_before, in all organizations. While a target has not received a finding's
-- end, the last delivery that it accepted stays back to kept_after, so that it receives the end. Returns no row.
-- Parameters: made_before; kept_after: all deliveries that were created earlier are deleted.
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
