"""The outbox: what is to be sent, written in the transaction that changes a finding's state (transactional outbox)."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from uuid import UUID

from psycopg.types.json import Jsonb

from agentidp.alerts.state_change import SEVERITIES, StateChange, change_for_test
from agentidp.db.organization import Transaction


def enqueue(
    opened: Transaction, change: StateChange, *, contributors: Collection[UUID] = (), is_for_others: bool = False
) -> int:
    """Put a state change into the outbox, once for each target of the organization that wants it.

    A target that has received the beginning receives what follows, whatever it wants now, and after it is enabled if
    it is disabled: it would else show the finding as going on for ever. The end goes to nobody else.

    Nothing is sent before the transaction is committed, and nothing is lost after it. To enqueue the same change again
    does nothing.

    :param opened: the transaction that changes the finding's state.
    :param contributors: the agents that take part in a finding about several.
    :param is_for_others: leave out the targets that have received the beginning, and not the end.
    :returns: the number of targets.
    """
    severities = list(SEVERITIES[: SEVERITIES.index(change.severity) + 1])
    targets = opened.fetch(
        "alerts/matching_targets",
        finding_id=change.finding_id,
        kind=change.kind,
        agents=[agent_id for agent_id in (change.agent_id, *contributors) if agent_id is not None],
        severities=severities,
        follows=change.change != "opened",
        ends=change.change == "resolved",
        others=is_for_others,
    )
    for target in targets:
        opened.as_of(change.at).fetch(
            "alerts/add_delivery",
            target_id=target.target_id,
            delivery_id=uuid.uuid5(change.change_id, str(target.target_id)),
            finding_id=change.finding_id,
            change=change.change,
            payload=Jsonb(change.to_json()),
        )
    return len(targets)


def enqueue_test(opened: Transaction, target_id: UUID, target_name: str) -> UUID:
    """Put a test of one target into the outbox.

    :returns: the id of the delivery.
    """
    change = change_for_test(target_name, opened.at)
    [row] = opened.fetch(
        "alerts/add_test",
        target_id=target_id,
        delivery_id=uuid.uuid4(),
        finding_id=change.finding_id,
        payload=Jsonb(change.to_json()),
    )
    delivery_id: UUID = row.delivery_id
    return delivery_id
