-- The columns of a credential that views of usage show. A statement includes this list as {credential_use}.
credential_id, agent_id, label,
case
    when trust is not null then 'federated' when jwks = '["none"]' then 'public' when jwks is not null then 'key' else 'secret'
end as type,
created_at, expires_at, last_used_at, revoked_at
