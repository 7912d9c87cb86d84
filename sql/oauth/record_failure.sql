-- Counts a failed authentication at "at" in its throttle, unless that admits no further failure: then it stays as it
-- is, so that going on does not prolong it. One row where the failure was counted, and none where it is throttled.
-- Forgets a few throttles nearby that have had more than a minute's rest.
-- Parameters: organization_id: where throttles are; cell: the throttle's number; nearby: how many cells after it are
-- looked through; every (interval): what a failure takes to be forgotten; at (timestamptz); latest (timestamptz): what
-- is later was written by a clock that is wrong, and counts for nothing.
with forgotten as (
    delete from throttles
    -- By the key, whatever the table held when the plan was made. By a join or by ctid it could be the whole table.
    where organization_id = %(organization_id)s and cell = any (array(
        select cell
        from throttles
        where
            organization_id = %(organization_id)s
            and cell > %(cell)s::integer
            and cell < %(cell)s::integer + %(nearby)s::integer
            and admits_at < %(at)s::timestamptz - interval '1 minute'
        order by cell
        limit 10
        -- Never waits, and is done after what does.
        for update skip locked
    ))
)
insert into throttles as throttle (organization_id, cell, admits_at)
values (
    %(organization_id)s,
    %(cell)s::integer,
    -- A throttle admits a minute's failures at once, of which this is one, and saves up no more than that.
    %(at)s::timestamptz - interval '1 minute' + 2 * %(every)s::interval
)
on conflict (organization_id, cell) do update
set admits_at = case
    when throttle.admits_at > %(latest)s::timestamptz then excluded.admits_at
    else greatest(throttle.admits_at + %(every)s::interval, excluded.admits_at)
end
where throttle.admits_at <= %(at)s or throttle.admits_at > %(latest)s
returning cell
