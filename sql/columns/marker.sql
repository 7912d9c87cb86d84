-- What statements return of a marker: they have {marker} in place of this list.
marker_id, kind, starts_at, ends_at, agent_id, note, created_at
