-- Apps that a client ID metadata document describes: the rules that admit them, and the agents that are created for them.

-- The hosts of client ID metadata documents whose apps may act by the rule, in addition to the rule's agents.
alter table delegation_rules add column client_hosts text[] not null default '{}';
alter table delegation_rules drop constraint delegation_rules_agent_ids_check;
alter table delegation_rules add constraint delegation_rules_agents_check
    check (cardinality(agent_ids) <= 100 and cardinality(agent_ids) + cardinality(client_hosts) > 0);

-- The URL of the agent's client ID metadata document, which is the app's client_id. Null: the agent has no document.
alter table agents add column client_uri text;
-- The instant from which the client ID metadata document must be read again, because redirect_uris is a copy from the document.
alter table agents add column document_fresh_until timestamptz;
