-- What the spellings of an identifier have in common that resource servers may take for one (RFC 3986 section 6.2): it is
-- in lower case, without the default port and without closing slashes.
create or replace function resource_key(resource text) returns text
    language sql immutable
    return rtrim(
        regexp_replace(
            lower(resource collate "C"), '^(http://[^/?]*):0*80(?=[/?]|$)|^(https://[^/?]*):0*443(?=[/?]|$)', '\1\2'
        ),
        '/'
    );
