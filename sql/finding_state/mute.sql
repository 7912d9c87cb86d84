-- Mutes findings of a kind about an agent, or about anything. Returns until when. A mute that goes on keeps when it began.
-- Parameters: organization_id; kind; subject: an agent's id, or 'organization' for every finding of the kind; until and
-- at (timestamptz); muted_by: the name of who does it; note: text or null.
insert into finding_mutes (organization_id, kind, subject, until, muted_at, muted_by, note)
values (
    %(organization_id)s,
    %(kind)s,
    %(subject)s,
    %(until)s::timestamptz,
    %(at)s::timestamptz,
    %(muted_by)s,
    %(note)s::text
)
on conflict (organization_id, kind, subject) do update set
    until = excluded.until,
    muted_at = case
        when finding_mutes.until > excluded.muted_at then finding_mutes.muted_at else excluded.muted_at
    end,
    muted_by = excluded.muted_by,
    note = excluded.note
returning until
