-- Counts a failed authentication at "at" in its throttle, unless the throttle admits no further failure. In that case the
-- throttle does not change, so that further attempts do not prolong it. Returns one row if the failure was counted, no row if it
-- is throttled. Also deletes a few throttles with near numbers that were not used for a minute.
-- Parameters: organization_id: of the throttles; cell: the throttle's number; nearby: the number of cells after it to search
-- for unused throttles; every (interval): the time after which a failure is forgotten; at (timestamptz); latest (timestamptz):
-- a later admits_at is ignored, because a wrong clock has written it.
--
-- citus: no shard, because throttles are on the coordinator
with forgotten as (
    delete from throttles
    -- Deletes by primary key. With a join or a ctid, a plan that was made on an empty table would read the entire table.
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
        -- Skips locked rows, because the insert below may have locked a row while the delete runs.
        for update skip locked
    ))
)
insert into throttles as throttle (organization_id, cell, admits_at)
values (
    %(organization_id)s,
    %(cell)s::integer,
    -- An unused throttle admits at once as many failures as it forgets in a minute, including this one.
    %(at)s::timestamptz - interval '1 minute' + 2 * %(every)s::interval
)
on conflict (organization_id, cell) do update
set admits_at = case
    when throttle.admits_at > %(latest)s::timestamptz then excluded.admits_at
    else greatest(throttle.admits_at + %(every)s::interval, excluded.admits_at)
end
where throttle.admits_at <= %(at)s or throttle.admits_at > %(latest)s
returning cell
