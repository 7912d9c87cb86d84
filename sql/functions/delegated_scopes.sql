-- Returns the scopes of p_scopes that a token from an exchange may have for a resource. A scope is left out if the resource server,
-- p_max_scopes, or an ancestor for the same resource does not have it. The ancestors are the subject's token and the tokens
-- exchanged for it. Returns null if the resource server is unknown or is for a cloud such as AWS, or if p_scopes is null. The
-- transaction is already restricted to the organization's rows.
--
-- Parameters: p_organization_id; p_resource: the identifier of the requested resource server; p_scopes: the scopes that the
-- subject has there; p_max_scopes: the scopes to which an ID-JAG or a grant limits the token, or null; p_ancestors: as in the
-- statement oauth/exchange_token.
create or replace function delegated_scopes(
    p_organization_id text,
    p_resource text,
    p_scopes text[],
    p_max_scopes text[],
    p_ancestors jsonb
) returns text[]
language plpgsql stable as $$
declare
    v_target record;
begin
    select target.scopes, array[resource_key(target.resource), resource_key(target.audience_claim)] as keys
    into v_target
    from resource_servers as target
    where
        target.organization_id = p_organization_id and target.resource = p_resource collate "default"
        -- This condition is false for a cloud such as AWS. A cloud reads only "sub", so it would give the acting agent all rights
        -- of the subject.
        and target.subject = 'agent' and (target.audience is null or target.audience_claim is not null);
    if not found or p_scopes is null then
        return null;
    end if;
    return array(
        select delegated.scope
        from unnest(p_scopes) as delegated (scope)
        where
            delegated.scope = any (v_target.scopes)
            and (p_max_scopes is null or delegated.scope = any (p_max_scopes))
            and not exists (
                select 1
                from jsonb_array_elements(p_ancestors) as ancestor
                where
                    -- An ancestor counts as a token for the requested resource if its resource or its aud matches, because the
                    -- audience of the resource server may have changed since the token was issued. The audience //host belongs
                    -- to the identifier https://host.
                    (
                        resource_key(ancestor.value ->> 'resource') = any (v_target.keys)
                        or resource_key(regexp_replace(ancestor.value ->> 'aud', '^//', 'https://')) = any (v_target.keys)
                    )
                    and delegated.scope <> all (string_to_array(ancestor.value ->> 'scope', ' '))
            )
    );
end $$;
