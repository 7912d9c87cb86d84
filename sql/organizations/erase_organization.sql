-- Deletes all rows of an organization except its audit trail and its resource identifiers. The order matters, because Citus deletes
-- from one table at a time: a table comes after the tables that reference it. Returns no row. Parameters: organization_id.
--
-- for: operator
with erased_clients as (delete from clients where organization_id = %(organization_id)s),
erased_credentials as (delete from credentials where organization_id = %(organization_id)s),
erased_provisioning_rules as (delete from provisioning_rules where organization_id = %(organization_id)s),
erased_grants as (delete from grants where organization_id = %(organization_id)s),
erased_delegation_rules as (delete from delegation_rules where organization_id = %(organization_id)s),
erased_resource_servers as (delete from resource_servers where organization_id = %(organization_id)s),
erased_revoked_tokens as (delete from revoked_tokens where organization_id = %(organization_id)s),
erased_used_identifiers as (delete from used_identifiers where organization_id = %(organization_id)s),
erased_throttles as (delete from throttles where organization_id = %(organization_id)s),
erased_usage as (delete from usage_daily where organization_id = %(organization_id)s),
erased_agent_usage as (delete from agent_usage_daily where organization_id = %(organization_id)s),
erased_credential_usage as (delete from credential_usage_daily where organization_id = %(organization_id)s),
erased_delegation_usage as (delete from delegation_usage_daily where organization_id = %(organization_id)s),
erased_usage_monthly as (delete from usage_monthly where organization_id = %(organization_id)s),
erased_alert_deliveries as (delete from alert_deliveries where organization_id = %(organization_id)s),
erased_alert_targets as (delete from alert_targets where organization_id = %(organization_id)s),
erased_finding_changes as (delete from finding_changes where organization_id = %(organization_id)s),
erased_finding_mutes as (delete from finding_mutes where organization_id = %(organization_id)s),
erased_finding_evaluations as (delete from finding_evaluations where organization_id = %(organization_id)s),
erased_rejected_networks as (delete from rejected_networks where organization_id = %(organization_id)s),
erased_findings as (delete from findings where organization_id = %(organization_id)s),
erased_openid_providers as (delete from openid_providers where organization_id = %(organization_id)s),
erased_markers as (delete from markers where organization_id = %(organization_id)s),
erased_announced_suspensions as (delete from announced_suspensions where organization_id = %(organization_id)s),
erased_quotas as (delete from quotas where organization_id = %(organization_id)s),
erased_quota_refusals as (delete from quota_refusals_daily where organization_id = %(organization_id)s),
erased_usage_imports as (delete from usage_imports where organization_id = %(organization_id)s),
erased_agents as (delete from agents where organization_id = %(organization_id)s)
delete from organizations
where organization_id = %(organization_id)s
