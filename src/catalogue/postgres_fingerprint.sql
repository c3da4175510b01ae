-- Changes whenever what `postgres.sql` reads may have changed; costs a scan of small catalogues. Every change
-- of a catalogue's row has a new xmin.
SELECT concat_ws(' ',
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_class WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_rewrite WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_trigger WHERE NOT tgisinternal),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_constraint WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_attrdef),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_policy),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_event_trigger),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_namespace),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_proc WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_operator WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_cast WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_type WHERE oid >= 16384),
    (SELECT sum(hashtextextended(attrelid || ':' || attnum || ':' || atttypid, 0))
     FROM pg_attribute WHERE atttypid >= 16384),
    (SELECT sum(hashtextextended(inhrelid || ':' || inhparent, 0)) FROM pg_inherits),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_amproc WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_amop WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_conversion WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_ts_template WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_ts_parser WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_am WHERE oid >= 16384),
    (SELECT sum(hashtextextended(oid || ':' || xmin, 0)) FROM pg_statistic_ext),
    -- Whose a sequence is, and what is an extension's, stands here alone.
    (SELECT sum(hashtextextended(concat_ws(':', classid, objid, refclassid, refobjid), 0)) FROM pg_depend
     WHERE deptype = 'e' OR deptype IN ('a', 'i') AND classid = 'pg_class'::regclass)
)
