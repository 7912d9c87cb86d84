-- Makes a table a reference table, which is complete on every node. Returns one row. Parameters: name.
--
-- for: operator
select create_reference_table(%(name)s::regclass)
