-- Creates a function on every node. Its calls run where they are made. Returns one row. Parameters: signature.
select create_distributed_function(%(signature)s::regprocedure)
