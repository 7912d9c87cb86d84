-- The columns of a marker that statements return. A statement includes this list as {marker}.
marker_id, kind, starts_at, ends_at, agent_id, note, created_at
