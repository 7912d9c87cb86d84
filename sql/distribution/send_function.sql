-- Creates a function on every node. Returns one row. Parameters: signature.
--
-- for: operator
select create_distributed_function(%(signature)s::regprocedure)
