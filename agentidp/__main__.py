"""Entry point of ``python -m agentidp``."""

from agentidp.cli import main

main()
