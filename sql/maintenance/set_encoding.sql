-- Sets the encoding in which this transaction sends rows. Returns one row. Parameters: encoding: PostgreSQL's name for it.
--
-- example: encoding=UTF8
select set_config('client_encoding', %(encoding)s::text, true) as encoding
