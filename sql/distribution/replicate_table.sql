-- Makes a table whole on every node. Returns one row. Parameters: name.
select create_reference_table(%(name)s::regclass)
