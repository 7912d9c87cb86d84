"""Sends an organization's findings to its alert targets, by means of an outbox."""
