-- Adds two arrays that have one count for each hour of a day. Returns an array with the sum for each hour.
create or replace function add_by_hour(counts integer[], added integer[]) returns integer[]
    language sql immutable
    return array(
        select both_counts.a + both_counts.b
        from unnest(counts, added) with ordinality as both_counts (a, b, ordinal)
        order by both_counts.ordinal
    );
