-- Sets the encoding of the rows that the client sends in this transaction. Returns one row. Parameters: encoding: its name in
-- PostgreSQL.
--
-- example: encoding=UTF8
select set_config('client_encoding', %(encoding)s::text, true) as encoding
