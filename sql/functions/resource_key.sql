-- Returns the normalized spelling of a resource identifier: in lower case, without the default port and without trailing slashes.
-- Spellings with the same normalized spelling may mean the same resource server (RFC 3986 section 6.2).
create or replace function resource_key(resource text) returns text
    language sql immutable
    return rtrim(
        regexp_replace(
            lower(resource collate "C"), '^(http://[^/?]*):0*80(?=[/?]|$)|^(https://[^/?]*):0*443(?=[/?]|$)', '\1\2'
        ),
        '/'
    );
