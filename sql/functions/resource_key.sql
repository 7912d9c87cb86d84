-- Returns the form that all spellings of a resource identifier share that a resource server may treat as the same (RFC 3986
-- section 6.2): in lower case, without the default port and without trailing slashes.
create or replace function resource_key(resource text) returns text
    language sql immutable
    return rtrim(
        regexp_replace(
            lower(resource collate "C"), '^(http://[^/?]*):0*80(?=[/?]|$)|^(https://[^/?]*):0*443(?=[/?]|$)', '\1\2'
        ),
        '/'
    );
