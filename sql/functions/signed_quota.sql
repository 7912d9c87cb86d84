-- Returns a quota as one number, in the form of the column quotas of agents and organizations: the quota's tokens, negative if
-- the quota is not enforced.
create or replace function signed_quota(tokens bigint, is_enforced boolean) returns bigint
    language sql immutable
    return case when is_enforced then tokens else -tokens end;
