-- Makes a table a reference table of Citus, so that every node has all its rows. Returns one row. Parameters: name.
select create_reference_table(%(name)s::regclass)
