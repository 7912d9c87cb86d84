-- Deletes the deliveries of all organizations that were made before an instant. Returns no row.
-- Parameters: made_before.
delete from alert_deliveries
where created_at < %(made_before)s
