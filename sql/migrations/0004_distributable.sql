-- What Citus refuses when the tables are distributed by organization goes; without Citus it is missed by nobody.

-- Citus takes no sub-select in a policy. Those of the migrations before were there to be evaluated once a statement and
-- not once a row. They need not: every statement compares organization_id with its own parameter, so the planner makes
-- of this a comparison of the parameter with the setting, once a statement.
alter policy own_organization on organizations
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on agents
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on clients
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on credentials
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on usage_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on agent_usage_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on revoked_tokens
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on used_identifiers
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on resource_servers
    using (organization_id = current_setting('agentidp.organization_id', true));
alter policy own_organization on throttles
    using (organization_id = current_setting('agentidp.organization_id', true));

-- The client directory will be whole on every node and organizations will not, so Citus takes no foreign key between
-- them. An agent is registered together with its client by one statement, and has a foreign key of its own.
alter table clients drop constraint clients_organization_id_fkey;
