"""Writes messages to the outbox in the transaction that changes a finding's state (transactional outbox)."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from uuid import UUID

from psycopg.types.json import Jsonb

from agentidp.alerts.state_change import SEVERITIES, StateChange, build_test_change
from agentidp.db.organization import Transaction


def enqueue_alert(
    transaction: Transaction,
    change: StateChange,
    *,
    contributors: Collection[UUID] = (),
    is_for_new_receivers: bool = False,
) -> int:
    """Put a state change into the outbox, once per target that must receive it, and return the number of targets.

    A target that has received a finding's beginning also receives the later changes and the end, even if the target's
    filters have changed meanwhile, because the target would otherwise show the finding as ongoing for ever.

    :param contributors: the agents that contribute to a finding about several agents.
    :param is_for_new_receivers: whether to leave out the targets that already show the finding as ongoing.
    """
    severities_up_to_finding = list(SEVERITIES[: SEVERITIES.index(change.severity) + 1])
    target_rows = transaction.fetch(
        "alerts/matching_targets",
        finding_id=change.finding_id,
        kind=change.kind,
        agents=[agent_id for agent_id in (change.agent_id, *contributors) if agent_id is not None],
        severities=severities_up_to_finding,
        follows=change.change != "opened",
        ends=change.change == "resolved",
        is_for_new_receivers=is_for_new_receivers,
    )
    for target_row in target_rows:
        transaction.as_of(change.at).fetch(
            "alerts/add_delivery",
            target_id=target_row.target_id,
            delivery_id=uuid.uuid5(change.change_id, str(target_row.target_id)),
            finding_id=change.finding_id,
            change=change.change,
            payload=Jsonb(change.to_json()),
        )
    return len(target_rows)


def enqueue_test(transaction: Transaction, target_id: UUID, target_name: str) -> UUID:
    """Put a test message for an alert target into the outbox, and return the ID of its delivery."""
    test_message, delivery_id = build_test_change(target_name, transaction.at), uuid.uuid4()
    transaction.fetch(
        "alerts/add_test",
        target_id=target_id,
        delivery_id=delivery_id,
        finding_id=test_message.finding_id,
        payload=Jsonb(test_message.to_json()),
    )
    return delivery_id
