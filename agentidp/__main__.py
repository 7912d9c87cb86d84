"""``python -m agentidp``."""

from agentidp.cli import main

main()
