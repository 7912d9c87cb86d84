"""Stand-ins for what Citus puts into a database: they work in one ordinary server, and refuse what Citus refuses.

Citus cannot be had where the tests run. Its functions are replaced by ones of the same names, parameters and schema,
which note each call instead of moving rows. What they refuse comes from Citus's sources (``policy.c``,
``foreign_constraint.c``, ``create_distributed_table.c``) and PostgreSQL's own ``COPY``. They say nothing about how a
cluster plans and runs the statements of the service.
"""

from __future__ import annotations

import psycopg

STAND_INS = """
set allow_system_table_mods = on;
create schema citus;
create type citus.distribution_type as enum ('hash', 'range', 'append');

create table pg_catalog.pg_dist_partition (
    logicalrelid regclass primary key, partmethod "char" not null, partkey text, colocationid integer not null,
    repmodel "char" not null
);
create table pg_catalog.pg_dist_object (
    classid oid, objid oid, objsubid integer, primary key (classid, objid, objsubid)
);
create table citus.calls (number integer generated always as identity, call text);
grant select on pg_catalog.pg_dist_partition, pg_catalog.pg_dist_object to public;

create function citus.refuse_what_is_refused(relation regclass, distribution_column name, colocation integer)
    returns void language plpgsql as $$
declare
    broken record;
begin
    if exists (select from pg_dist_partition where logicalrelid = relation) then
        raise 'table "%" is already distributed', relation;
    end if;
    if row_security_active(relation) then
        raise 'COPY FROM not supported with row-level security';
    end if;
    if exists (select from pg_trigger where tgrelid = relation and not tgisinternal) then
        raise 'cannot distribute relation "%" because it has triggers', relation;
    end if;
    if exists (
        select from pg_policy where polrelid = relation and concat(polqual::text, polwithcheck::text) like '%{SUBLINK%'
    ) then
        raise 'cannot create policy' using
            detail = 'Subqueries are not supported in policies on distributed tables';
    end if;
    if exists (
        select
        from pg_index
        where indrelid = relation and (indisunique or indisexclusion) and distribution_column is not null
            and not exists (
                select from pg_attribute
                where attrelid = relation and attname = distribution_column and attnum = any (indkey)
            )
    ) then
        raise 'cannot create constraint on "%"', relation using
            detail = 'Distributed relations cannot have UNIQUE, EXCLUDE, or PRIMARY KEY constraints that do not '
                'include the partition column';
    end if;
    for broken in
        select
            foreign_key.*,
            referenced.partmethod,
            referenced.colocationid,
            (
                select array_position(foreign_key.conkey, attnum) from pg_attribute
                where attrelid = relation and attname = distribution_column
            ) is not distinct from (
                select array_position(foreign_key.confkey, attnum) from pg_attribute
                where attrelid = foreign_key.confrelid and attname = distribution_column
            ) as is_by_distribution_column
        from pg_constraint as foreign_key
        left join pg_dist_partition as referenced on referenced.logicalrelid = foreign_key.confrelid
        where foreign_key.conrelid = relation and foreign_key.contype = 'f'
    loop
        if broken.partmethod is null then
            raise 'cannot create foreign key constraint' using
                detail = 'Referenced table must be a distributed table or a reference table.';
        elsif distribution_column is null and broken.partmethod <> 'n' then
            raise 'cannot create foreign key constraint since foreign keys from reference tables to distributed tables '
                'are not supported';
        elsif distribution_column is not null and broken.partmethod <> 'n' and broken.colocationid <> colocation then
            raise 'cannot create foreign key constraint since relations are not colocated or not referencing a '
                'reference table';
        elsif distribution_column is not null and broken.partmethod <> 'n' and not broken.is_by_distribution_column then
            raise 'cannot create foreign key constraint' using
                detail = 'Foreign keys are supported in two cases, either in between two colocated tables including '
                    'partition column in the same ordinal in the both tables or from distributed to reference tables';
        elsif distribution_column is not null
            and (broken.confdeltype in ('n', 'd') or broken.confupdtype in ('n', 'd', 'c')) then
            raise 'cannot create foreign key constraint' using
                detail = 'SET NULL, SET DEFAULT or CASCADE is not supported';
        end if;
    end loop;
end $$;

create function pg_catalog.create_distributed_table(
    table_name regclass, distribution_column text, distribution_type citus.distribution_type default 'hash',
    colocate_with text default 'default', shard_count integer default null
) returns void language plpgsql as $$
declare
    colocation integer := case
        when colocate_with in ('default', 'none')
            then (select coalesce(max(colocationid), 0) + 1 from pg_dist_partition)
        else (select colocationid from pg_dist_partition where logicalrelid = colocate_with::regclass)
    end;
begin
    if colocation is null then
        raise 'relation % is not distributed', colocate_with;
    end if;
    perform citus.refuse_what_is_refused(table_name, distribution_column::name, colocation);
    insert into pg_dist_partition values (table_name, 'h', distribution_column, colocation, 's');
    insert into citus.calls (call) values (format('distribute %s with %s', table_name, colocate_with));
end $$;

-- Citus has had a second one of the name.
create function pg_catalog.create_distributed_table(
    table_name regclass, distribution_columns text[], distribution_type citus.distribution_type default 'hash',
    colocate_with text default 'default', shard_count integer default null
) returns void language plpgsql as $$ begin raise 'not this one'; end $$;

create function pg_catalog.create_reference_table(table_name regclass) returns void language plpgsql as $$
begin
    perform citus.refuse_what_is_refused(table_name, null, 0);
    insert into pg_dist_partition values (table_name, 'n', null, 0, 't');
    insert into citus.calls (call) values (format('replicate %s', table_name));
end $$;

create function pg_catalog.create_distributed_function(
    function_name regprocedure, distribution_arg_name text default null, colocate_with text default 'default',
    force_pushdown boolean default null
) returns void language plpgsql as $$
begin
    insert into pg_dist_object values ('pg_proc'::regclass, function_name, 0) on conflict do nothing;
    insert into citus.calls (call) values (format('send %s', function_name));
end $$;

reset allow_system_table_mods;
"""


def install_stand_ins(url: str) -> None:
    """What ``create extension citus`` would do.

    :param url: of a database, as a superuser.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(STAND_INS.encode())
