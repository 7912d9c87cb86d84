-- Whom to ask about an agent: a person, a team or an address. Empty if nobody has said.
alter table agents add column owner text not null default '';
