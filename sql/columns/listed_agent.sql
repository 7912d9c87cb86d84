-- What the dashboard's list has of an agent beside its usage: its statements have {listed_agent} in place of this list.
agents.agent_id, agents.name, agents.description, agents.owner
