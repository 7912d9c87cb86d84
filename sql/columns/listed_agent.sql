-- The columns of an agent that the dashboard's list shows next to the agent's usage. A statement has {listed_agent} in place of
-- this list.
agents.agent_id, agents.name, agents.description, agents.owner
