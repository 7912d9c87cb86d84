-- The changes of a finding since it last began that were alerted: no mute applied. One row for each.
-- Parameters: organization_id; finding_id; kind; subject.
select change, changed_at
from finding_changes
where
    organization_id = %(organization_id)s
    and finding_id = %(finding_id)s
    and change in ('opened', 'reopened', 'escalated')
    and changed_at >= (
        select max(changed_at)
        from finding_changes
        where
            organization_id = %(organization_id)s
            and finding_id = %(finding_id)s
            and change in ('opened', 'reopened')
    )
    and not exists (
        select
        from finding_mutes
        where
            organization_id = %(organization_id)s
            and kind = %(kind)s
            and subject in (%(subject)s, 'organization')
            and muted_at <= finding_changes.changed_at
            and until > finding_changes.changed_at
    )
