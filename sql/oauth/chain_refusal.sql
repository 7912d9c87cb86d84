-- Returns one row: refusal: the logged reason why a token from an exchange must be refused, or null.
-- Parameters: organization_id; agent_ids (uuid[]), issued_at (timestamptz[]), jtis (text[]), audiences (text[]), rule_id: as in the
-- function chain_refusal.
select chain_refusal(
    -- Citus runs the function on the worker with the organization's rows only if the argument has the collation "C", like the
    -- column organization_id.
    p_organization_id => %(organization_id)s::text collate "C",
    p_agent_ids => %(agent_ids)s::uuid[],
    p_issued_at => %(issued_at)s::timestamptz[],
    p_jtis => %(jtis)s::text[],
    p_audiences => %(audiences)s::text[],
    p_rule_id => %(rule_id)s::uuid
) as refusal
