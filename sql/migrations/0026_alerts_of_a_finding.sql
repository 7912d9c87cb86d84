-- Which targets have received a finding's beginning, so that they receive its end.

create index alert_deliveries_organization_id_finding_id_created_at_idx
    on alert_deliveries (organization_id, finding_id, created_at);
