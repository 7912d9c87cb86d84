-- Deletes all counters of an organization for a UTC day. Returns no row.
-- Parameters: organization_id; on_day: the day.
--
-- for: operator
with deleted_agent_usage as (
    delete from agent_usage_daily where organization_id = %(organization_id)s and day = %(on_day)s::date
),
deleted_credential_usage as (
    delete from credential_usage_daily where organization_id = %(organization_id)s and day = %(on_day)s::date
),
deleted_delegation_usage as (
    delete from delegation_usage_daily where organization_id = %(organization_id)s and day = %(on_day)s::date
),
deleted_quota_refusals as (
    delete from quota_refusals_daily where organization_id = %(organization_id)s and day = %(on_day)s::date
)
delete from usage_daily where organization_id = %(organization_id)s and day = %(on_day)s::date
