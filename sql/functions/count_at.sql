-- One in an hour (0 to 23) and nothing in the others.
create or replace function count_at(hour integer) returns integer[]
    language sql immutable
    return array_fill(0, array[hour]) || 1 || array_fill(0, array[23 - hour]);
