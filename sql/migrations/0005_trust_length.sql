-- The number of characters of a rule of trust, so that a statement can limit what it reads without decompressing rules. Null for
-- a rule of release 1.0.0. A generated column would rewrite the tables, and PostgreSQL would then plan as if they were empty.
alter table credentials add column trust_length integer;
alter table provisioning_rules add column trust_length integer;
