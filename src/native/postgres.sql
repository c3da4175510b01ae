-- Everything that a role may do in this database, by itself, by a role that it holds, or by being anybody (PUBLIC).
-- What every server grants everybody in its own schemas is left out. $1: the role's name.
WITH RECURSIVE held (oid, name, admin) AS (
    SELECT r.oid, r.rolname, false FROM pg_catalog.pg_roles r WHERE r.rolname = $1
    UNION
    SELECT r.oid, r.rolname, m.admin_option
    FROM pg_catalog.pg_auth_members m
    JOIN held ON m.member = held.oid
    JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
), anybody (oid) AS (
    SELECT oid FROM held UNION SELECT 0::oid
), own (oid) AS (
    SELECT n.oid FROM pg_catalog.pg_namespace n
    WHERE n.nspname IN ('pg_catalog', 'information_schema') OR n.nspname ~ '^pg_(toast|temp)'
), granted (what, on_, is_grantable, grantee) AS (
    SELECT a.privilege_type,
        CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || n.nspname || '.' || c.relname,
        a.is_grantable, a.grantee
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
    aclexplode(c.relacl) a
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.oid NOT IN (SELECT oid FROM own) AND a.grantee <> c.relowner
    UNION ALL
    SELECT a.privilege_type, 'column ' || n.nspname || '.' || c.relname || '.' || t.attname, a.is_grantable, a.grantee
    FROM pg_catalog.pg_attribute t
    JOIN pg_catalog.pg_class c ON c.oid = t.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
    aclexplode(t.attacl) a
    WHERE n.oid NOT IN (SELECT oid FROM own) AND NOT t.attisdropped AND a.grantee <> c.relowner
    UNION ALL
    SELECT a.privilege_type, 'schema ' || n.nspname, a.is_grantable, a.grantee
    FROM pg_catalog.pg_namespace n, aclexplode(n.nspacl) a
    WHERE n.oid NOT IN (SELECT oid FROM own) AND a.grantee <> n.nspowner
    UNION ALL
    SELECT a.privilege_type,
        'function ' || n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
        a.is_grantable, a.grantee
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace,
    aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    WHERE n.oid NOT IN (SELECT oid FROM own) AND a.grantee <> p.proowner
        -- An extension's functions behind its operators, casts and types run whenever these do.
        AND NOT (
            EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                AND d.deptype = 'e')
            AND (
                EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE p.oid IN (o.oprcode, o.oprrest, o.oprjoin))
                OR EXISTS (SELECT FROM pg_catalog.pg_cast k WHERE k.castfunc = p.oid)
                OR EXISTS (SELECT FROM pg_catalog.pg_amproc f WHERE f.amproc = p.oid)
                OR EXISTS (SELECT FROM pg_catalog.pg_type y
                    WHERE p.oid IN (y.typinput, y.typoutput, y.typreceive, y.typsend, y.typmodin, y.typmodout))
            )
        )
    UNION ALL
    SELECT a.privilege_type, 'database ' || d.datname, a.is_grantable, a.grantee
    FROM pg_catalog.pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
    WHERE d.datname = current_database() AND a.privilege_type <> 'CONNECT' AND a.grantee <> d.datdba
    UNION ALL
    -- What was changed of the server's own.
    SELECT a.privilege_type, 'table ' || n.nspname || '.' || c.relname, a.is_grantable, a.grantee
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
    aclexplode(c.relacl) a
    WHERE n.oid IN (SELECT oid FROM own) AND a.grantee <> c.relowner
        -- The server's own grants in this schema are made by a script, and so not on record.
        AND NOT (n.nspname = 'information_schema' AND a.grantee = 0 AND a.privilege_type = 'SELECT') AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_init_privs i, aclexplode(i.initprivs) b
        WHERE i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = 0
            AND (b.grantee, b.privilege_type, b.is_grantable) = (a.grantee, a.privilege_type, a.is_grantable))
    UNION ALL
    SELECT a.privilege_type,
        'function ' || n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
        a.is_grantable, a.grantee
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace,
    aclexplode(p.proacl) a
    WHERE n.oid IN (SELECT oid FROM own) AND a.grantee <> p.proowner AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_init_privs i, aclexplode(i.initprivs) b
        WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid
            AND (b.grantee, b.privilege_type, b.is_grantable) = (a.grantee, a.privilege_type, a.is_grantable))
        AND (a.grantee <> 0 OR EXISTS (
            SELECT FROM pg_catalog.pg_init_privs i WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid))
    UNION ALL
    SELECT a.privilege_type, 'future ' || CASE e.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
        WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' ELSE 'schemas' END || ' of ' || pg_get_userbyid(e.defaclrole),
        a.is_grantable, a.grantee
    FROM pg_catalog.pg_default_acl e, aclexplode(e.defaclacl) a
    WHERE a.grantee <> e.defaclrole AND (e.defaclobjtype, a.grantee) <> ('f', 0) AND (e.defaclobjtype, a.grantee) <> ('T', 0)
    UNION ALL
    SELECT a.privilege_type, 'foreign server ' || s.srvname, a.is_grantable, a.grantee
    FROM pg_catalog.pg_foreign_server s, aclexplode(s.srvacl) a WHERE a.grantee <> s.srvowner
    UNION ALL
    SELECT a.privilege_type, 'foreign-data wrapper ' || w.fdwname, a.is_grantable, a.grantee
    FROM pg_catalog.pg_foreign_data_wrapper w, aclexplode(w.fdwacl) a WHERE a.grantee <> w.fdwowner
    UNION ALL
    SELECT a.privilege_type, 'language ' || l.lanname, a.is_grantable, a.grantee
    FROM pg_catalog.pg_language l, aclexplode(l.lanacl) a
    WHERE a.grantee <> l.lanowner AND (a.grantee <> 0 OR NOT l.lanpltrusted) AND l.oid > 16383
    UNION ALL
    SELECT a.privilege_type, 'large object ' || o.oid, a.is_grantable, a.grantee
    FROM pg_catalog.pg_largeobject_metadata o, aclexplode(o.lomacl) a WHERE a.grantee <> o.lomowner
    UNION ALL
    SELECT a.privilege_type, 'tablespace ' || t.spcname, a.is_grantable, a.grantee
    FROM pg_catalog.pg_tablespace t, aclexplode(t.spcacl) a WHERE a.grantee <> t.spcowner
)
SELECT g.what || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS what, g.on_ AS on_
FROM granted g WHERE g.grantee IN (SELECT oid FROM anybody)
UNION
SELECT w.what, 'the server'
FROM held
JOIN pg_catalog.pg_roles r ON r.oid = held.oid,
LATERAL (VALUES (r.rolsuper, 'SUPERUSER'), (r.rolcreaterole, 'CREATEROLE'), (r.rolcreatedb, 'CREATEDB'),
    (r.rolreplication, 'REPLICATION'), (r.rolbypassrls, 'BYPASSRLS')) AS w (has, what)
WHERE w.has
UNION
SELECT 'MEMBER' || CASE WHEN held.admin THEN ' WITH ADMIN OPTION' ELSE '' END, 'role ' || held.name
FROM held WHERE held.name <> $1 AND (held.admin OR held.name ~ '^pg_')
UNION
SELECT 'OWNER', coalesce(CASE d.classid
        WHEN 'pg_class'::regclass THEN (SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || n.nspname || '.' || c.relname
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = d.objid)
        WHEN 'pg_namespace'::regclass THEN (SELECT 'schema ' || n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid = d.objid)
    END, pg_describe_object(d.classid, d.objid, 0))
FROM pg_catalog.pg_shdepend d
WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid IN (SELECT oid FROM held) AND d.deptype = 'o'
    AND d.dbid IN (0, (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = current_database()))
    AND d.classid <> 'pg_type'::regclass
UNION
SELECT 'USER MAPPING', 'foreign server ' || m.srvname FROM pg_catalog.pg_user_mappings m
WHERE m.umuser IN (SELECT oid FROM anybody)
ORDER BY 2, 1
