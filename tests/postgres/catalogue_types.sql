CREATE EXTENSION citext;
CREATE EXTENSION pgcrypto;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION "uuid-ossp";
CREATE EXTENSION hstore;
CREATE EXTENSION cube;
CREATE EXTENSION btree_gist;
CREATE FUNCTION leak() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a' $$;
CREATE FUNCTION is_fine(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
CREATE FUNCTION uuidv7() RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;
CREATE FUNCTION array_shuffle(anyarray) RETURNS anyarray LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION crc32(text) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;
CREATE FUNCTION slug(text) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;
CREATE FUNCTION helper(int) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;

CREATE TYPE mood AS ENUM ('a', 'b');
CREATE TYPE calm AS ENUM ('a', 'b');
CREATE DOMAIN mood_domain AS mood;
CREATE DOMAIN checked AS text CHECK (is_fine(VALUE));
CREATE DOMAIN plain_domain AS text CHECK (VALUE ~ '^a') DEFAULT 'a';
CREATE DOMAIN given AS text DEFAULT leak();
CREATE TYPE pair AS (mood mood, n int);
CREATE TYPE checked_row AS (n int, v checked);
CREATE TYPE address AS (street text);
CREATE TYPE span AS RANGE (SUBTYPE = address);
CREATE FUNCTION gap(x time, y time) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$ SELECT 1::float8 $$;
CREATE TYPE hours AS RANGE (SUBTYPE = time, SUBTYPE_DIFF = gap);
CREATE FUNCTION evil(address) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;
CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql AS $$ SELECT '1'::json $$;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
CREATE FUNCTION mood_eq(mood, mood) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = mood, FUNCTION = mood_eq);
CREATE FUNCTION some_mood() RETURNS mood LANGUAGE sql AS $$ SELECT 'a'::mood $$;
CREATE FUNCTION takes_checked(checked) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;

CREATE TABLE of_domain (id int, mood mood_domain);
CREATE TABLE of_array (id int, moods mood_domain[]);
CREATE TABLE of_pair (id int, pair pair);
CREATE VIEW of_view AS SELECT id, moods FROM of_array;
CREATE VIEW called AS SELECT to_json(some_mood()) AS v FROM (SELECT 1) AS one;
CREATE TABLE of_address (id int, list address[]);
CREATE TABLE of_span (id int, span span);
CREATE TABLE of_hours (id int, hours hours);
CREATE TABLE of_given (id int, given given);
CREATE TABLE of_checked (id int, v checked_row);
CREATE SCHEMA other;
CREATE TABLE other.x1 (id int, v checked);
CREATE TABLE of_x1 (id int, xs other.x1[]);
CREATE TABLE indexed (id int, note text);
CREATE INDEX ON indexed (is_fine('const'));
CREATE TABLE measured (id int, note text);
CREATE STATISTICS measures ON (is_fine(note)), id FROM measured;
CREATE TABLE checks (id int, CHECK (is_fine('const')));
CREATE TABLE checks_child () INHERITS (checks);

CREATE SCHEMA sorted;
CREATE TYPE sorted.sort AS (n int);
CREATE FUNCTION sorted.below(sorted.sort, sorted.sort) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT true $$;
CREATE FUNCTION sorted.compare(sorted.sort, sorted.sort) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 0 $$;
CREATE OPERATOR sorted.< (LEFTARG = sorted.sort, RIGHTARG = sorted.sort, FUNCTION = sorted.below);
CREATE OPERATOR CLASS sorted.sorts DEFAULT FOR TYPE sorted.sort USING btree
    AS OPERATOR 1 sorted.<, FUNCTION 1 sorted.compare(sorted.sort, sorted.sort);
CREATE DOMAIN sorted.sort_domain AS sorted.sort;
CREATE TABLE of_sort (id int, at sorted.sort_domain);

CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name varchar(50) NOT NULL, slug text, calm calm,
    plain plain_domain, tags text[], n int GENERATED ALWAYS AS IDENTITY, made timestamptz DEFAULT now(),
    CHECK (length(name) > 1));
CREATE INDEX ON users (lower(name));
CREATE FUNCTION full_name(users) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;
CREATE TABLE posts (id int PRIMARY KEY, author uuid REFERENCES users, full_name text) PARTITION BY RANGE (id);
CREATE TABLE posts_1 PARTITION OF posts FOR VALUES FROM (0) TO (10);
CREATE TABLE mails (id serial PRIMARY KEY, mail citext UNIQUE, extra hstore, place cube);
CREATE INDEX ON mails USING gin ((mail::text) gin_trgm_ops);
CREATE VIEW authors AS SELECT u.id, u.calm, p.id AS post FROM users u JOIN posts p ON p.author = u.id;
CREATE TYPE dates AS RANGE (SUBTYPE = date, SUBTYPE_DIFF = daterange_subdiff);
CREATE TABLE of_dates (id int, dates dates, many dates_multirange);
CREATE DOMAIN address_of_mail AS citext CHECK (VALUE ~ '^[a-z]+@[a-z]+$');
CREATE TABLE newsletters (mail address_of_mail PRIMARY KEY, "user" int);
