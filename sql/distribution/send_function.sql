-- Creates a function on every node. Returns one row. Parameters: signature.
select create_distributed_function(%(signature)s::regprocedure)
