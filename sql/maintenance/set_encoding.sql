-- Says in which encoding this transaction sends rows. Returns one row. Parameters: encoding: PostgreSQL's name of it.
--
-- for: operator
-- example: encoding=UTF8
select set_config('client_encoding', %(encoding)s::text, true) as encoding
