-- A quota as one number, as the column quotas of agents and organizations has it: the tokens of the quota, negative if the quota
-- is not enforced.
create or replace function signed_quota(tokens bigint, is_enforced boolean) returns bigint
    language sql immutable
    return case when is_enforced then tokens else -tokens end;
