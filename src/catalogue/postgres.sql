-- What the definitions of this database's relations reach; one row for each reach (see `Catalogue`). Runs with an
-- empty search_path, so that definitions come out with qualified names. `postgres_types.sql` tells of the rest.
--
-- acts: 1 select, 2 insert, 4 update, 8 delete, 16 ddl. of_name is null where any statement may set it off.
-- `body` is the text of a definition, which the classifier reads for what pg_depend does not record:
-- PostgreSQL's own relations and functions.
WITH RECURSIVE spaces AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_'
), rel AS (
    SELECT c.oid, c.relkind, c.relispartition, c.relrowsecurity, s.nspname, c.relname, c.reltype,
           coalesce(c.reloptions::text, '') AS options
    FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND s.nspname <> 'information_schema'
), members AS (
    -- What an extension brought is the extension's own; its functions count where something calls them.
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), domains AS (
    -- A domain, or an array of it, and the domains it is made of.
    SELECT t.oid AS type, t.oid AS domain FROM pg_type t WHERE t.typtype = 'd'
    UNION SELECT t.typarray, t.oid FROM pg_type t WHERE t.typtype = 'd' AND t.typarray <> 0
    UNION SELECT d.type, t.typbasetype FROM domains d JOIN pg_type t ON t.oid = d.domain
          JOIN pg_type b ON b.oid = t.typbasetype AND b.typtype = 'd'
), direct AS (
    SELECT d.classid, d.objid, n.nspname, p.proname AS name
    FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE d.refclassid = 'pg_proc'::regclass AND d.deptype <> 'e'
      -- The sidecar's own triggers do no more than tell sidecars which row changed, and chain audit rows; known by
      -- their texts alone.
      AND NOT (d.classid = 'pg_trigger'::regclass
               AND (p.proname, coalesce(p.proconfig::text, ''), encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex')) IN (
                   ('bulkhead_note_change', '',
                    '20888ae243664c8348c8520deb119bcc35a3cbdad1b8a8bcf329bb41c25b07df'),
                   ('bulkhead_audit_chain', '{"search_path=pg_catalog, pg_temp"}',
                    '4e42db77c754f03f1c1f51874715604470f237224c32fbbe0f1cb3f6f581ecd5')))
    UNION ALL
    SELECT d.classid, d.objid, n.nspname, o.oprname
    FROM pg_depend d JOIN pg_operator o ON o.oid = d.refobjid JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE d.refclassid = 'pg_operator'::regclass AND d.deptype <> 'e'
), code AS (
    SELECT * FROM direct
    UNION ALL
    -- A value that becomes a domain's runs the domain's checks.
    SELECT d.classid, d.objid, f.nspname, f.name
    FROM pg_depend d JOIN domains s ON s.type = d.refobjid JOIN pg_constraint c ON c.contypid = s.domain
    JOIN direct f ON f.classid = 'pg_constraint'::regclass AND f.objid = c.oid
    WHERE d.refclassid = 'pg_type'::regclass
), definitions AS (
    SELECT r.ev_class AS rel, 'pg_rewrite'::regclass::oid AS classid, r.oid AS objid,
           13 | CASE WHEN c.options LIKE '%check_option%' THEN 2 ELSE 0 END AS acts,
           coalesce(pg_get_viewdef(r.ev_class), '?') AS body
    FROM pg_rewrite r JOIN rel c ON c.oid = r.ev_class WHERE r.rulename = '_RETURN'
    UNION ALL
    SELECT t.tgrelid, 'pg_trigger'::regclass, t.oid,
           (t.tgtype & 4) / 2 | (t.tgtype & 8) | (t.tgtype & 16) / 4 | (t.tgtype & 32) / 2
           -- An update may move a row from one partition to another.
           | CASE WHEN c.relispartition AND t.tgtype & 12 <> 0 THEN 4 ELSE 0 END,
           'SELECT ' || substring(pg_get_triggerdef(t.oid) FROM ' WHEN (\(.*\)) EXECUTE (?:FUNCTION|PROCEDURE) ')
    FROM pg_trigger t JOIN rel c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
    UNION ALL
    SELECT c.conrelid, 'pg_constraint'::regclass, c.oid, 6, 'SELECT ' || pg_get_expr(c.conbin, c.conrelid)
    FROM pg_constraint c WHERE c.conrelid <> 0 AND c.contype <> 'f'
    UNION ALL
    SELECT a.attrelid, 'pg_constraint'::regclass, c.oid, 6, 'SELECT ' || pg_get_expr(c.conbin, 0)
    FROM pg_constraint c JOIN domains d ON d.domain = c.contypid JOIN pg_attribute a ON a.atttypid = d.type
    WHERE NOT a.attisdropped
    UNION ALL
    SELECT d.adrelid, 'pg_attrdef'::regclass, d.oid, CASE a.attgenerated WHEN 'v' THEN 15 ELSE 6 END,
           'SELECT ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '?')
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    UNION ALL
    SELECT i.indrelid, 'pg_class'::regclass, i.indexrelid, 22, 'SELECT ' || nullif(concat_ws(', ',
           pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)), '')
    FROM pg_index i
    UNION ALL
    SELECT p.partrelid, 'pg_class'::regclass, p.partrelid, 22, 'SELECT ' || pg_get_expr(p.partexprs, p.partrelid)
    FROM pg_partitioned_table p
    UNION ALL
    SELECT s.stxrelid, 'pg_statistic_ext'::regclass, s.oid, 22,
           'SELECT ' || nullif(concat_ws(', ', pg_get_expr(s.stxexprs, s.stxrelid)), '')
    FROM pg_statistic_ext s
    UNION ALL
    SELECT p.polrelid, 'pg_policy'::regclass, p.oid,
           CASE p.polcmd WHEN 'a' THEN 2 WHEN 'w' THEN 6 WHEN 'd' THEN 8 ELSE 15 END,
           'SELECT ' || nullif(concat_ws(', ', pg_get_expr(p.polqual, p.polrelid),
           pg_get_expr(p.polwithcheck, p.polrelid)), '')
    FROM pg_policy p JOIN rel c ON c.oid = p.polrelid AND c.relrowsecurity
), descendants AS (
    SELECT oid AS ancestor, oid AS rel FROM rel WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION SELECT d.ancestor, i.inhrelid FROM descendants d JOIN pg_inherits i ON i.inhparent = d.rel
), found AS (
    -- Code in definitions. Calls with constant arguments run when a statement is planned, whatever it does: those of
    -- indexes, partition keys, statistics and, where tables inherit, checks.
    SELECT d.rel, CASE WHEN d.classid IN ('pg_class'::regclass, 'pg_statistic_ext'::regclass)
                         OR d.classid = 'pg_constraint'::regclass
                            AND EXISTS (SELECT FROM pg_inherits i WHERE d.rel IN (i.inhrelid, i.inhparent))
                       THEN 31 ELSE d.acts END AS acts, 'function' AS kind, c.nspname AS to_schema,
           c.name AS to_name, NULL AS action, NULL AS body
    FROM definitions d JOIN code c ON c.classid = d.classid AND c.objid = d.objid
    UNION ALL
    -- PostgreSQL's own functions as triggers, but for those that only compute.
    SELECT t.tgrelid, 31, 'function', 'pg_catalog', p.proname, NULL, NULL
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND p.pronamespace = 'pg_catalog'::regnamespace
      AND p.proname NOT IN ('suppress_redundant_updates_trigger', 'tsvector_update_trigger',
                            'tsvector_update_trigger_column')
    UNION ALL
    -- Relations in definitions; a sequence that belongs to the table, or to the one it is a piece of, is part
    -- of it.
    SELECT d.rel, d.acts, 'relation', n.nspname, c.relname,
           CASE c.relkind WHEN 'S' THEN 'update' ELSE 'select' END, NULL
    FROM definitions d JOIN pg_depend x ON x.classid = d.classid AND x.objid = d.objid
    JOIN pg_class c ON c.oid = x.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE x.refclassid = 'pg_class'::regclass AND x.refobjid <> d.rel
      AND d.classid IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass, 'pg_policy'::regclass)
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend o
                      WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND c.relkind = 'S'
                        AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i')
                        AND o.refobjid IN (SELECT a.ancestor FROM descendants a WHERE a.rel = d.rel))
    UNION ALL
    -- The tables that a view can write through to.
    SELECT v.oid, 14, 'same', c.nspname, c.relname, NULL, NULL
    FROM rel v JOIN pg_rewrite r ON r.ev_class = v.oid AND r.rulename = '_RETURN'
    JOIN pg_depend x ON x.classid = 'pg_rewrite'::regclass AND x.objid = r.oid
    JOIN rel c ON c.oid = x.refobjid
    WHERE v.relkind = 'v' AND x.refclassid = 'pg_class'::regclass AND c.oid <> v.oid AND c.relkind <> 'S'
      AND pg_relation_is_updatable(v.oid, true) <> 0
    UNION ALL
    -- Rules that are no view's.
    SELECT r.ev_class, CASE r.ev_type WHEN '2' THEN 4 WHEN '3' THEN 2 WHEN '4' THEN 8 ELSE 31 END,
           'function', c.nspname, r.rulename, NULL, NULL
    FROM pg_rewrite r JOIN rel c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
    UNION ALL
    -- Foreign keys. A partition's copy says no more than the one of its table.
    SELECT f.confrelid, 8, 'relation', c.nspname, c.relname,
           CASE f.confdeltype WHEN 'c' THEN 'delete' ELSE 'update' END, NULL
    FROM pg_constraint f JOIN rel c ON c.oid = f.conrelid
    WHERE f.contype = 'f' AND f.confdeltype IN ('c', 'n', 'd')
      AND NOT (c.relispartition AND f.conparentid <> 0)
    UNION ALL
    SELECT f.confrelid, 4, 'relation', c.nspname, c.relname, 'update', NULL
    FROM pg_constraint f JOIN rel c ON c.oid = f.conrelid
    WHERE f.contype = 'f' AND f.confupdtype IN ('c', 'n', 'd')
      AND NOT (c.relispartition AND f.conparentid <> 0)
    UNION ALL
    SELECT i.inhparent, 31, CASE WHEN c.relispartition THEN 'piece' ELSE 'same' END, c.nspname,
           c.relname, NULL, NULL
    FROM pg_inherits i JOIN rel c ON c.oid = i.inhrelid
    UNION ALL
    -- A foreign table's rows are elsewhere.
    SELECT oid, 31, 'function', nspname, relname, NULL, NULL FROM rel WHERE relkind = 'f'
    UNION ALL
    -- Ways to store tables and indexes that no extension brought.
    SELECT coalesce(i.indrelid, c.oid), 31, 'function', n.nspname, p.proname, NULL, NULL
    FROM pg_class c JOIN pg_am m ON m.oid = c.relam JOIN pg_proc p ON p.oid = m.amhandler
    JOIN pg_namespace n ON n.oid = p.pronamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE p.oid >= 16384
      AND NOT EXISTS (SELECT FROM members e WHERE e.classid = 'pg_am'::regclass AND e.objid = m.oid)
    UNION ALL
    SELECT d.rel, d.acts, 'definition', NULL, NULL, NULL, d.body
    FROM definitions d WHERE d.body IS NOT NULL
    UNION ALL
    SELECT NULL, 16, 'function', n.nspname, p.proname, NULL, NULL
    FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE e.evtenabled <> 'D'
)
SELECT DISTINCT c.nspname::text AS of_schema, c.relname::text AS of_name, f.acts::int4 AS acts,
       '{}'::text[] AS words, '{}'::text[] AS symbols, f.kind::text AS kind, f.to_schema::text AS to_schema,
       f.to_name::text AS to_name, f.action::text AS action, f.body::text AS body
FROM found f LEFT JOIN rel c ON c.oid = f.rel
WHERE f.rel IS NULL OR c.oid IS NOT NULL
