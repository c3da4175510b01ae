CREATE TABLE plain (id bigserial PRIMARY KEY, note text DEFAULT upper('a'), at timestamptz DEFAULT now());
CREATE TABLE secrets (id int PRIMARY KEY, secret text);
CREATE VIEW shown AS SELECT id FROM secrets;
CREATE VIEW shown_again AS SELECT * FROM shown;
CREATE VIEW shown_roles AS SELECT rolname FROM pg_authid;
CREATE VIEW shown_file AS SELECT pg_read_file('a') AS text;
CREATE MATERIALIZED VIEW stored AS SELECT * FROM secrets;
CREATE SCHEMA elsewhere;
CREATE VIEW elsewhere.shown AS SELECT id FROM public.secrets;

CREATE FUNCTION secret_number() RETURNS int LANGUAGE sql STABLE AS $$ SELECT max(id) FROM public.secrets $$;
CREATE FUNCTION is_fine(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT true $$;
CREATE VIEW calling AS SELECT secret_number();

CREATE FUNCTION copy_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TABLE watched (id int);
CREATE TRIGGER copy AFTER INSERT ON watched FOR EACH ROW WHEN (is_fine('a')) EXECUTE FUNCTION copy_row();
CREATE RULE forget AS ON DELETE TO watched DO ALSO DELETE FROM secrets;

CREATE TABLE owner (id int PRIMARY KEY);
CREATE TABLE owned (id int REFERENCES owner ON DELETE CASCADE);
CREATE TABLE owned_loosely (id int REFERENCES owner ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE owned_strictly (id int REFERENCES owner);

CREATE SEQUENCE free_numbers;
CREATE TABLE numbered (id int DEFAULT nextval('free_numbers'), own serial, secret int DEFAULT secret_number());
CREATE TABLE odd_default (id text DEFAULT query_to_xml('SELECT 1', true, true, '')::text);
CREATE TYPE state AS ENUM ('open', 'shut');
CREATE TABLE states (state state DEFAULT 'open', CHECK (state <> 'shut'::state));
CREATE DOMAIN inner_text AS text CHECK (is_fine(VALUE));
CREATE DOMAIN outer_text AS inner_text;
CREATE TABLE checked (notes outer_text[]);
CREATE TABLE indexed (note text);
CREATE INDEX ON indexed (is_fine(note));

CREATE TABLE rows_of (id int);
ALTER TABLE rows_of ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON rows_of USING (EXISTS (SELECT FROM secrets s WHERE s.id = rows_of.id) AND is_fine('a'));

CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE events (id int) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (9);
CREATE TRIGGER copy AFTER INSERT ON events_1 FOR EACH ROW EXECUTE FUNCTION copy_row();

CREATE TABLE days (id bigserial, day int, owner int REFERENCES owner ON DELETE CASCADE) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (9);

CREATE TABLE people (id int);
CREATE FUNCTION secret_of(people) RETURNS text LANGUAGE sql STABLE AS $$ SELECT secret FROM public.secrets LIMIT 1 $$;
CREATE FUNCTION any_of(anyelement) RETURNS text LANGUAGE sql STABLE AS $$ SELECT secret FROM public.secrets LIMIT 1 $$;
CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql STABLE AS $$ SELECT secret FROM public.secrets LIMIT 1 $$;
CREATE OPERATOR <-> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE TYPE pair AS (x int, y int);
CREATE FUNCTION pair_eq(pair, pair) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE OPERATOR = (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_eq);
CREATE FUNCTION point_text(pair) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;
CREATE CAST (pair AS text) WITH FUNCTION point_text(pair) AS IMPLICIT;
CREATE TABLE points (at pair);
