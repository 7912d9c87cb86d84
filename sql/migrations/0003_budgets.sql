-- What an organization means to spend in a calendar month.

-- Tokens in a UTC calendar month; null where the organization has set none.
alter table organizations add column monthly_token_budget bigint
    check (monthly_token_budget between 1 and 1000000000000);

grant update (monthly_token_budget) on organizations to agentidp_service;
