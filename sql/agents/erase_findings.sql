-- Deletes the findings that name an agent, their changes and alerts, and the mutes of findings about the agent. Replaces the
-- agent's name by 'erased' where the agent has acknowledged, changed or muted other findings. Returns one row per deleted finding.
-- Parameters: organization_id; agent_id.
--
-- for: operator
with about as materialized (
    select finding_id
    from findings
    where organization_id = %(organization_id)s and position(%(agent_id)s::text in subject || report::text) > 0
),
erased as materialized (
    select name from agents where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
),
deleted_changes as (
    delete from finding_changes
    where organization_id = %(organization_id)s and finding_id in (select finding_id from about)
),
deleted_deliveries as (
    delete from alert_deliveries
    where organization_id = %(organization_id)s and finding_id in (select finding_id from about)
),
deleted_mutes as (
    delete from finding_mutes where organization_id = %(organization_id)s and subject = %(agent_id)s::text
),
erased_mutes as (
    update finding_mutes
    set muted_by = 'erased'
    where
        organization_id = %(organization_id)s
        and subject <> %(agent_id)s::text
        and muted_by in (select name from erased)
),
erased_changes as (
    update finding_changes
    set changed_by = 'erased'
    where
        organization_id = %(organization_id)s
        and finding_id not in (select finding_id from about)
        and changed_by in (select name from erased)
),
erased_acknowledgements as (
    update findings
    set acknowledged_by = 'erased'
    where
        organization_id = %(organization_id)s
        and finding_id not in (select finding_id from about)
        and acknowledged_by in (select name from erased)
)
delete from findings
where organization_id = %(organization_id)s and finding_id in (select finding_id from about)
returning finding_id
