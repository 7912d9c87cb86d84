"""Encrypts stored secrets again after the instance secret was changed."""

from __future__ import annotations

from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.sql import run_statement
from agentidp.jose.sealing import Sealer, Unreadable


def reseal_secrets(
    settings: Settings, sealer: Sealer, list_statement: str, store_statement: str, id_name: str, noun: str
) -> tuple[int, int]:
    """Encrypt stored secrets of all organizations again, under the current instance secret instead of the previous one.

    :param list_statement: the statement that returns the secrets. *store_statement* replaces one secret.
    :param id_name: the column with the ID of the object that has the secret.
    :param noun: the name of the object in an error, for example ``alert target``.
    :returns: the number of secrets that were encrypted again, and of all secrets.
    """
    changed_count = 0
    with connect(str(settings.database_url)) as connection, connection.transaction():
        secret_rows = run_statement(connection, list_statement)
        for secret_row in secret_rows:
            row_id, sealed_secret = getattr(secret_row, id_name), bytes(secret_row.sealed)
            try:
                resealed_secret = sealer.reseal(str(row_id), sealed_secret)
            except Unreadable:
                raise ConfigurationError(
                    f"neither AGENTIDP_SECRET_KEY nor AGENTIDP_SECRET_KEY_PREVIOUS decrypts the {noun} {row_id}: "
                    "delete it, and create it again"
                ) from None
            if resealed_secret is not None:
                parameters = {"organization_id": secret_row.organization_id, id_name: row_id}
                parameters |= {"previous": sealed_secret, "sealed": resealed_secret}
                # Skips a row that a server has just replaced, because the server used the current instance secret.
                changed_count += len(run_statement(connection, store_statement, **parameters))
    return changed_count, len(secret_rows)
