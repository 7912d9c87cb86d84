-- How many instances of an agent run, from 1 to 10,000. Null if nobody has declared it.
alter table agents add column expected_replicas integer;
