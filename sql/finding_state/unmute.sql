-- Ends a mute of findings. Returns one row, or no row if there is no such mute.
-- Parameters: organization_id; kind; subject: the agent's id, or 'organization' for a mute of all findings of the kind.
--
-- example: kind=spike; subject=organization
delete from finding_mutes
where
    organization_id = %(organization_id)s
    and kind = %(kind)s
    and subject = %(subject)s
returning until
