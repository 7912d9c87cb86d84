-- Makes a table a reference table, which is complete on every node. Returns one row. Parameters: name.
select create_reference_table(%(name)s::regclass)
