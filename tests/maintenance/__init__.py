"""Tests of agentidp/maintenance."""
