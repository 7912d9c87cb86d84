#!/bin/sh
# Creates the database and its roles. PostgreSQL's image runs this script once, when it creates its data directory. Only
# migrations and the operator's commands use the owner of the schema. The service's login can only become
# agentidp_service.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set owner_password="$OWNER_PASSWORD" --set service_password="$SERVICE_PASSWORD" <<'END'
create role agentidp_service nologin;
create role agentidp login createrole password :'owner_password';
grant agentidp_service to agentidp;
create role agentidp_login login noinherit password :'service_password' in role agentidp_service;
create database agentidp owner agentidp;
revoke connect on database agentidp from public;
grant connect on database agentidp to agentidp_login;
END
