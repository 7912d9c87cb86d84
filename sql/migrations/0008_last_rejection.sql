-- The instant of the last failed authentication per day, agent, network and reason. Null for rows of release 1.0.0.
alter table rejected_networks add column last_rejected_at timestamptz;
