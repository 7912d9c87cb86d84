-- An alert target can be limited to the agents of some owners.

-- Null: findings about every agent, and about the organization.
alter table alert_targets add column owners text[];
