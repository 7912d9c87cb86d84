-- The columns of an alert target that statements return. A statement includes this list as {alert_target}.
target_id, name, type, destination, kinds, minimum_severity, enabled, created_at, updated_at, last_success_at,
last_failure_at, failing_since, last_error, owners
