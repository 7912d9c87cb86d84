-- A signing key can be revoked, and the role that serves requests can add none.

-- A key that is revoked verifies nothing from then on. Its private half is deleted: private_key_encrypted is empty.
alter table signing_keys add column revoked_at timestamptz;

-- Keys are made, rotated, revoked and re-encrypted by the operator's commands, as the owner of the table.
revoke insert on signing_keys from agentidp_service;
