"""The ``agentidp`` command."""
