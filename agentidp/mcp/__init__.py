"""The analytics as tools of the Model Context Protocol, for agents that read them."""
