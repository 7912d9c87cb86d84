-- Mutes a kind of findings, for one agent or for the whole organization. Returns the end of the mute.
-- Parameters: organization_id; kind; subject: the agent's id, or 'organization' for all findings of the kind; until
-- (timestamptz): the end of the mute; at (timestamptz): the current time; muted_by: the name of the agent or person; note: text
-- or null.
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
