-- What statements return of an alert target: they have {alert_target} in place of this list.
target_id, name, type, destination, kinds, minimum_severity, enabled, created_at, updated_at, last_success_at,
last_failure_at, failing_since, last_error, owners
