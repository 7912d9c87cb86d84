-- What writes the arrays of a day's hours keeps their length, and the tables no longer check it: PostgreSQL parses the checks
-- of a table anew for each update. That was a fifth of what counting a request costs.
alter table usage_daily
    drop constraint usage_daily_tokens_by_hour_check,
    drop constraint usage_daily_requests_by_hour_check,
    drop constraint usage_daily_rejected_by_hour_check;

alter table agent_usage_daily
    drop constraint agent_usage_daily_tokens_by_hour_check,
    drop constraint agent_usage_daily_requests_by_hour_check,
    drop constraint agent_usage_daily_rejected_by_hour_check;
