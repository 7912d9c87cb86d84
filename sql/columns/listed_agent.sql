-- The columns of an agent that the dashboard's list shows next to the agent's usage. A statement includes this list as
-- {listed_agent}.
agents.agent_id, agents.name, agents.description, agents.owner
