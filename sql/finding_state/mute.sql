-- Mutes the findings of a kind about an agent, or about any subject. Returns the end of the mute.
-- Parameters: organization_id; kind; subject: an agent's id, or 'organization' for every finding of the kind; until and at
-- (timestamptz); muted_by: the name of the agent or person; note: text or null.
--
-- example: kind=silence; subject=organization
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
    muted_at = excluded.muted_at,
    muted_by = excluded.muted_by,
    note = excluded.note
returning until
