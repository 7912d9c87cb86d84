-- Throttles are logged. Copied with a database (create database ... template), the index of an unlogged table is not made
-- anew after a crash on PostgreSQL 15 to 18, and then each failed authentication failed with XX002. A failure does not wait
-- for the disk in any case: its transaction commits with synchronous_commit = off.
alter table throttles set logged;
