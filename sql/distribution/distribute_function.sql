-- Creates a function on every node. Its calls run on the worker that has the organization's rows, even in a transaction of
-- several statements. Returns one row. Parameters: signature; argument: the name of the argument that is the organization's id.
select create_distributed_function(%(signature)s::regprocedure, %(argument)s::text, 'agents', force_delegation => true)
