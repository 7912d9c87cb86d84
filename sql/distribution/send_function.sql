-- Creates a function on every node. Each call runs on the node on which it is made. Returns one row. Parameters: signature.
select create_distributed_function(%(signature)s::regprocedure)
