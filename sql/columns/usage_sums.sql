-- The sums of usage, and the last days with usage, over the rows of a group. A statement includes this list as {usage_sums}.
sum(usage.tokens)::bigint as tokens,
sum(usage.requests)::bigint as requests,
sum(usage.rejected)::bigint as rejected,
max(usage.day) filter (where usage.tokens > 0) as token_day,
max(usage.day) filter (where usage.requests > 0) as request_day,
max(usage.day) filter (where usage.rejected > 0) as rejection_day
