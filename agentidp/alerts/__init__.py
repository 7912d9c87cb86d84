"""Alerts: where an organization's findings are sent, the outbox, and the delivery."""
