-- Users' code that no definition of a relation names: overloads, and what values of users' types run wherever they
-- are (domains' checks and defaults, casts, operators, operator classes, functions of a row). $1 is the schema that
-- unqualified names mean. The rows are like those of `postgres.sql`, and together with `words` and `symbols`, which
-- a text must all have.
--
-- A type brings its code into each type that is made of it, and these into each relation, function and text that
-- has one. Type 0 stands for those that any text can make: PostgreSQL's own.
WITH RECURSIVE members AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), constructors AS (
    -- What makes ranges came with their types and runs nothing else.
    SELECT objid AS oid FROM pg_depend
    WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_type'::regclass AND deptype = 'i'
), used AS (
    SELECT d.classid, d.objid, n.nspname, p.proname AS name, p.oid,
           EXISTS (SELECT FROM members m WHERE m.classid = d.refclassid AND m.objid = p.oid) AS is_member
    FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE d.refclassid = 'pg_proc'::regclass AND d.deptype = 'n'
    UNION ALL
    SELECT d.classid, d.objid, n.nspname, o.oprname, o.oid,
           EXISTS (SELECT FROM members m WHERE m.classid = d.refclassid AND m.objid = o.oid)
    FROM pg_depend d JOIN pg_operator o ON o.oid = d.refobjid JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE d.refclassid = 'pg_operator'::regclass AND d.deptype = 'n'
), routines AS (
    -- Users' functions that an unqualified name finds.
    SELECT p.oid, n.nspname, p.proname, p.pronargs - p.pronargdefaults AS required, t.oid AS type, t.typtype,
           b.typtype AS base
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    LEFT JOIN pg_type t ON t.oid = p.proargtypes[0] LEFT JOIN pg_type b ON b.oid = t.typbasetype
    WHERE (n.nspname = $1 OR n.nspname = 'pg_catalog') AND p.oid >= 16384 AND p.prokind <> 'p'
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
      AND p.oid NOT IN (SELECT oid FROM constructors)
), made AS (
    -- What a type is made of, or becomes by itself.
    SELECT oid AS type, typbasetype AS part FROM pg_type WHERE typtype = 'd'
    UNION ALL SELECT oid, typelem FROM pg_type WHERE typelem <> 0 AND oid >= 16384
    UNION ALL SELECT rngtypid, rngsubtype FROM pg_range
    UNION ALL SELECT rngmultitypid, rngtypid FROM pg_range
    UNION ALL SELECT castsource, casttarget FROM pg_cast WHERE castcontext = 'i' AND castsource >= 16384
    UNION ALL SELECT c.reltype, a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
              WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384 AND c.reltype <> 0
    UNION ALL SELECT c.reltype, p.reltype FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
              JOIN pg_class p ON p.oid = i.inhparent WHERE c.reltype <> 0 AND p.reltype <> 0
), opened AS (
    -- What a value of PostgreSQL's own types becomes by itself; the other types' values have to come from somewhere.
    SELECT oid AS type FROM pg_type WHERE oid < 16384
    UNION SELECT c.type FROM opened o JOIN (
        SELECT oid AS type, typbasetype AS part FROM pg_type WHERE typtype = 'd'
        UNION ALL SELECT oid, typelem FROM pg_type WHERE typelem <> 0 AND typlen = -1 AND oid >= 16384
        UNION ALL SELECT casttarget, castsource FROM pg_cast WHERE castcontext = 'i'
    ) c ON c.part = o.type
), operands AS (
    SELECT o.oid, n.nspname, o.oprname, o.oprresult, s.type,
           s.type <> 0 AND s.type NOT IN (SELECT type FROM opened) AS is_closed,
           -- Two of PostgreSQL's own that have an operator of this name keep it.
           EXISTS (SELECT FROM pg_operator b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oid < 16384
                   AND b.oprname = o.oprname AND b.oprleft = s.type AND b.oprright = s.type) AS is_served
    FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
    CROSS JOIN LATERAL (VALUES (o.oprleft), (o.oprright)) s(type)
    WHERE (n.nspname = $1 OR n.nspname = 'pg_catalog') AND o.oid >= 16384
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_operator'::regclass AND m.objid = o.oid)
), closed AS (
    -- Comparisons that only a value of a user's type calls.
    SELECT oid FROM operands WHERE oprname IN ('=', '<>', '<', '<=', '>', '>=')
    GROUP BY oid HAVING bool_or(is_closed) AND bool_and(is_closed OR is_served)
), families AS (
    SELECT a.amprocfamily AS family, a.amproclefttype AS lefttype, a.amprocrighttype AS righttype, n.nspname,
           p.proname AS name, 'pg_proc'::regclass::oid AS classid, p.oid
    FROM pg_amproc a JOIN pg_proc p ON p.oid = a.amproc JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE a.oid >= 16384
    UNION ALL
    SELECT a.amopfamily, a.amoplefttype, a.amoprighttype, n.nspname, o.oprname, 'pg_operator'::regclass, o.oid
    FROM pg_amop a JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE a.oid >= 16384
), coded AS (
    SELECT t.oid AS type, u.nspname, u.name, NULL::name AS word, NULL::name AS symbol, 31 AS acts
    FROM pg_type t JOIN used u ON u.classid = 'pg_type'::regclass AND u.objid = t.oid
    WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
      -- A domain over an extension's type is written and read as that type is.
      AND NOT (u.is_member AND u.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout,
                                         t.typanalyze, t.typsubscript))
    UNION ALL
    -- What an extension compares a value with is no reason not to read it.
    SELECT c.contypid, u.nspname, u.name, NULL, NULL, CASE WHEN u.is_member THEN 6 ELSE 31 END
    FROM pg_constraint c JOIN used u ON u.classid = 'pg_constraint'::regclass AND u.objid = c.oid
    WHERE c.contypid <> 0
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_type'::regclass AND m.objid = c.contypid)
    UNION ALL
    SELECT CASE WHEN s.type >= 16384 THEN s.type ELSE 0 END, n.nspname, p.proname, NULL, NULL, 31
    FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc JOIN pg_namespace n ON n.oid = p.pronamespace
    CROSS JOIN LATERAL (VALUES (c.castsource), (c.casttarget)) s(type)
    WHERE c.oid >= 16384 AND p.oid NOT IN (SELECT oid FROM constructors)
      AND (s.type >= 16384 OR greatest(c.castsource, c.casttarget) < 16384)
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_cast'::regclass AND m.objid = c.oid)
    UNION ALL
    SELECT CASE WHEN o.oid IN (SELECT oid FROM closed) THEN o.type ELSE 0 END, o.nspname, o.oprname, NULL, o.oprname,
           31
    FROM operands o WHERE o.is_closed OR o.oid NOT IN (SELECT oid FROM closed)
    UNION ALL
    SELECT CASE WHEN s.type >= 16384 THEN s.type ELSE 0 END, f.nspname, f.name, NULL, NULL, 31
    FROM families f CROSS JOIN LATERAL (VALUES (f.lefttype), (f.righttype)) s(type)
    WHERE f.oid >= 16384 AND (s.type >= 16384 OR greatest(f.lefttype, f.righttype) < 16384)
      AND NOT (EXISTS (SELECT FROM members m WHERE m.classid = f.classid AND m.objid = f.oid)
          AND EXISTS (SELECT FROM members m WHERE m.classid = 'pg_opfamily'::regclass AND m.objid = f.family))
    UNION ALL
    -- `alias.name` calls a function of the row.
    SELECT CASE r.typtype WHEN 'c' THEN r.type ELSE 0 END, r.nspname, r.proname, r.proname, NULL, 31
    FROM routines r WHERE r.required <= 1 AND (r.typtype IN ('c', 'p') OR r.base IN ('c', 'd'))
    UNION ALL
    SELECT 0, n.nspname, p.proname, NULL, NULL, 31
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE (p.oid IN (SELECT conproc FROM pg_conversion WHERE oid >= 16384)
        OR p.oid IN (SELECT unnest(ARRAY[tmplinit, tmpllexize]) FROM pg_ts_template WHERE oid >= 16384)
        OR p.oid IN (SELECT unnest(ARRAY[prsstart, prstoken, prsend, prsheadline, prslextype]) FROM pg_ts_parser
                     WHERE oid >= 16384))
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
), bodies AS (
    SELECT t.oid AS type, n.nspname, t.typname, 'SELECT ' || b.body AS body
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    CROSS JOIN LATERAL (SELECT coalesce(pg_get_expr(c.conbin, 0), 'true') AS body FROM pg_constraint c
                        WHERE c.contypid = t.oid
                        UNION SELECT coalesce(pg_get_expr(t.typdefaultbin, 0), 'true')) b
    WHERE t.typtype = 'd' AND t.oid >= 16384 AND b.body <> 'true'
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
), bearing AS (
    SELECT type, type AS of FROM coded WHERE type <> 0
    UNION SELECT type, type FROM bodies
    UNION SELECT m.type, b.of FROM bearing b JOIN made m ON m.part = b.type
), owners AS (
    SELECT 'pg_rewrite'::regclass::oid AS classid, oid AS objid, ev_class AS rel FROM pg_rewrite
    UNION ALL SELECT 'pg_trigger'::regclass, oid, tgrelid FROM pg_trigger
    UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid FROM pg_constraint WHERE conrelid <> 0
    UNION ALL SELECT 'pg_attrdef'::regclass, oid, adrelid FROM pg_attrdef
    UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid FROM pg_policy
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxrelid FROM pg_statistic_ext
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, indrelid FROM pg_index
    UNION ALL SELECT 'pg_class'::regclass, partrelid, partrelid FROM pg_partitioned_table
), signatures AS (
    -- What a function takes becomes a value of the type, but what it gives is one that the text can go on with.
    SELECT p.oid, p.proname, b.of, bool_or(s.is_given) AS is_given
    FROM pg_proc p CROSS JOIN LATERAL (
        SELECT p.prorettype, true
        UNION ALL SELECT a.type, a.mode <> 'i' FROM unnest(p.proallargtypes, p.proargmodes) a(type, mode)
        UNION ALL SELECT unnest(p.proargtypes), false
    ) s(type, is_given) JOIN bearing b ON b.type = s.type
    WHERE p.oid >= 16384 GROUP BY p.oid, p.proname, b.of
), sources AS (
    SELECT t.typrelid AS rel, NULL::name AS word, NULL::name AS symbol, b.of, true AS is_given
    FROM bearing b JOIN pg_type t ON t.oid = b.type WHERE t.typrelid <> 0
    UNION
    SELECT o.rel, NULL, NULL, b.of, true
    FROM bearing b JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = b.type
    JOIN owners o ON o.classid = d.classid AND o.objid = d.objid
    UNION
    SELECT o.rel, NULL, NULL, s.of, s.is_given
    FROM signatures s JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = s.oid
    JOIN owners o ON o.classid = d.classid AND o.objid = d.objid
    UNION
    SELECT NULL, t.typname, NULL, b.of, true FROM bearing b JOIN pg_type t ON t.oid = b.type
    UNION
    SELECT NULL, s.proname, NULL, s.of, s.is_given FROM signatures s
    UNION
    SELECT NULL, NULL, o.oprname, b.of, true
    FROM operands o JOIN bearing b ON b.type IN (o.type, o.oprresult) WHERE o.oid NOT IN (SELECT oid FROM closed)
), found AS (
    SELECT s.rel, array_remove(ARRAY[s.word, c.word], NULL) AS words,
           array_remove(ARRAY[s.symbol, c.symbol], NULL) AS symbols, 'function' AS kind, c.nspname AS to_schema,
           c.name AS to_name, NULL AS body, c.acts
    FROM sources s JOIN coded c ON c.type = s.of AND (s.is_given OR (c.word IS NULL AND c.symbol IS NULL))
    -- A domain's name may be that of other tables' columns.
    WHERE s.rel IS NOT NULL OR c.acts = 31
    UNION
    SELECT s.rel, array_remove(ARRAY[s.word], NULL), array_remove(ARRAY[s.symbol], NULL), 'definition', b.nspname,
           b.typname, b.body, 31
    FROM sources s JOIN bodies b ON b.type = s.of
    UNION
    SELECT NULL, array_remove(ARRAY[c.word], NULL), array_remove(ARRAY[c.symbol], NULL), 'function', c.nspname, c.name,
           NULL, c.acts
    FROM coded c WHERE c.type = 0
    UNION
    -- The classifier knows which names it takes for built-in ones, also those of newer servers.
    SELECT NULL, ARRAY[r.proname], '{}', 'overload', r.nspname, r.proname, NULL, 31 FROM routines r
    UNION
    -- `alias.name` where the alias is a function's that returns no row.
    SELECT NULL, ARRAY[r.proname], '{}', 'field', r.nspname, r.proname, NULL, 31 FROM routines r
    WHERE r.required <= 1 AND r.type IS NOT NULL
)
SELECT n.nspname::text AS of_schema, c.relname::text AS of_name, f.acts, f.words::text[] AS words,
       f.symbols::text[] AS symbols, f.kind::text AS kind, f.to_schema::text AS to_schema, f.to_name::text AS to_name,
       NULL::text AS action, f.body::text AS body
FROM found f LEFT JOIN pg_class c ON c.oid = f.rel AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname !~ '^pg_'
WHERE f.rel IS NULL OR n.oid IS NOT NULL
