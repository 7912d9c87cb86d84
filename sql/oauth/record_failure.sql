-- Counts a failed authentication at "at" in the throttle of its client and address. Returns one row, or no row if the throttle
-- admits no further failure. The throttle then does not change, so that attempts do not prolong the wait. The statement also
-- deletes at most ten throttles with the next higher numbers that have not been used for a minute.
-- Parameters: organization_id: of the throttles; cell: the throttle's number; nearby: only throttles with numbers below cell +
-- nearby are deleted; every (interval): the time after which a failure is forgotten; at
-- (timestamptz); latest (timestamptz): an admits_at after this instant is ignored, because a wrong clock has written it.
--
-- citus: no shard, because throttles are on the coordinator
with forgotten as (
    delete from throttles
    -- The rows are deleted by primary key, because a join that was planned on an empty table would read the entire table.
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
        -- "skip locked" leaves out rows that another transaction has locked, so that two failures never wait for each other.
        for update skip locked
    ))
)
insert into throttles as throttle (organization_id, cell, admits_at)
values (
    %(organization_id)s,
    %(cell)s::integer,
    -- After this first failure, the throttle admits at once the rest of the failures that it admits per minute. The factor is 2
    -- and not 1, because a throttle also admits a failure if its admits_at equals "at".
    %(at)s::timestamptz - interval '1 minute' + 2 * %(every)s::interval
)
on conflict (organization_id, cell) do update
set admits_at = case
    when throttle.admits_at > %(latest)s::timestamptz then excluded.admits_at
    else greatest(throttle.admits_at + %(every)s::interval, excluded.admits_at)
end
where throttle.admits_at <= %(at)s or throttle.admits_at > %(latest)s
returning cell
