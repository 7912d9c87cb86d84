-- Creates a function on every node, and lets it run on the worker that has the organization's rows, in a transaction of
-- several statements as well. Returns one row. Parameters: signature; argument: which names the organization.
--
-- for: operator
select create_distributed_function(%(signature)s::regprocedure, %(argument)s::text, 'agents', force_delegation => true)
