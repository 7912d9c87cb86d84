-- The columns of a marker that statements return. A statement has {marker} in place of this list.
marker_id, kind, starts_at, ends_at, agent_id, note, created_at
