-- The new index also contains the events that end an agent's tokens, because such an event may explain a finding.
drop index audit_events_organization_id_sequence_idx;
create index audit_events_organization_id_sequence_idx on audit_events (organization_id, sequence)
where action in ('agent.changed', 'agent.tokens_ended', 'credential.created', 'credential.revoked');
