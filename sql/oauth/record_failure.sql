-- Counts a failed authentication at "at" in its throttle, unless that admits no further failure: then it stays as it
-- is, so that further attempts do not prolong it. One row if the failure was counted, and none if it is throttled.
-- Deletes a few nearby throttles that were not used for a minute.
-- Parameters: organization_id: where throttles are; cell: the throttle's number; nearby: how many cells after it are
-- looked through; every (interval): the time after which a failure is forgotten; at (timestamptz); latest (timestamptz): what
-- is later was written by a wrong clock, and is ignored.
--
-- citus: no shard, because throttles are on the coordinator
with forgotten as (
    delete from throttles
    -- By primary key. A plan that was made on an empty table would read the whole table for a join or a ctid.
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
        -- Does not wait for locks, and runs after the part that does.
        for update skip locked
    ))
)
insert into throttles as throttle (organization_id, cell, admits_at)
values (
    %(organization_id)s,
    %(cell)s::integer,
    -- A throttle admits the failures of one minute at once, this one included, and no more.
    %(at)s::timestamptz - interval '1 minute' + 2 * %(every)s::interval
)
on conflict (organization_id, cell) do update
set admits_at = case
    when throttle.admits_at > %(latest)s::timestamptz then excluded.admits_at
    else greatest(throttle.admits_at + %(every)s::interval, excluded.admits_at)
end
where throttle.admits_at <= %(at)s or throttle.admits_at > %(latest)s
returning cell
