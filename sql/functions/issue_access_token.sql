-- Issues a token for servers of release 0.2.0, which call this function, by issue_token. They know no quotas: if one refuses the
-- token, this fails with an error for which they respond that the service is unavailable. To be dropped in a later release.
create or replace function issue_access_token(
    p_organization_id text,
    p_agent_id uuid,
    p_at timestamptz, p_day date, p_hour integer,
    p_secret_hash bytea,
    p_jwk jsonb, p_digest bytea, p_expires_at timestamptz,
    p_scope text[], p_own_scopes text[], p_resource text,
    p_has_proof boolean,
    p_durable boolean
) returns table (is_target_known boolean, is_proof_missing boolean, scope text)
language plpgsql as $$
declare
    v_issued record;
begin
    for v_issued in
        select *
        from issue_token(
            p_organization_id, p_agent_id, p_at, p_day, p_hour, p_secret_hash, p_jwk, p_digest, p_expires_at, p_scope,
            p_own_scopes, p_resource, p_has_proof, p_durable
        )
    loop
        if v_issued.scope is null and v_issued.exhausted is not null then
            raise exception 'a quota refuses the token' using errcode = 'configuration_limit_exceeded';
        end if;
        is_target_known := v_issued.is_target_known;
        is_proof_missing := v_issued.is_proof_missing;
        scope := v_issued.scope;
        return next;
    end loop;
end $$;
