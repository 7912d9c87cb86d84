-- Apps that a client ID metadata document describes: the rules that admit them, and the agents that are created for them.

-- The hosts of documents whose apps may act by the rule, in addition to the agents of the rule.
alter table delegation_rules add column client_hosts text[] not null default '{}';
alter table delegation_rules drop constraint delegation_rules_agent_ids_check;
alter table delegation_rules add constraint delegation_rules_agents_check
    check (cardinality(agent_ids) <= 100 and cardinality(agent_ids) + cardinality(client_hosts) > 0);

-- The URL of the document, which is the client_id of the app. Null: an agent without document.
alter table agents add column client_uri text;
-- The instant from which the document must be read again. The row has its redirect URIs.
alter table agents add column document_fresh_until timestamptz;
