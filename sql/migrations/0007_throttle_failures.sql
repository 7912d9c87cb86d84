-- The throttle is looked at only when a failure is recorded, and sessions' credentials are found by an index.

-- It was there for the statement that issues a token, which sees the client's organization. A server of the release
-- before sees no throttle there any more, and so refuses no right credential.
drop policy any_throttle_can_be_looked_at on throttles;

-- Whether a credential of an agent was revoked since a session began: without it, all of the organization's were read.
create index credentials_organization_id_agent_id_revoked_at_idx on credentials (organization_id, agent_id, revoked_at)
    where revoked_at is not null;
