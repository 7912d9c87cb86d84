-- Returns an array with zero for each of 24 hours.
create or replace function count_nothing() returns integer[]
    language sql immutable
    return array_fill(0, array[24]);
