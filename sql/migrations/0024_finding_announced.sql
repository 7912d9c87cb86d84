-- The highest severity of which alerts were due since the finding last began, because no mute applied; null: nobody has been
-- told of it. Those that are stored already count as announced, so that the upgrade announces none of them again.
alter table findings
    add column announced_severity text default 'critical' check (announced_severity in ('info', 'warning', 'critical'));
