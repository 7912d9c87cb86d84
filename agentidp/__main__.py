"""``python -m agentidp``."""

from .cli import main

main()
