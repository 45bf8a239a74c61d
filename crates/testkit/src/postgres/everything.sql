-- One of everything that PostgreSQL 11 and later can hold and pg_dump brings back. Needs a superuser
-- and an empty database. Tests count on the names in here.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

DO $$ BEGIN
  CREATE ROLE app_owner NOLOGIN;
  CREATE ROLE "app reader" NOLOGIN;
  CREATE ROLE app_user LOGIN PASSWORD 'never captured';
  GRANT "app reader" TO app_user;
  ALTER ROLE app_user SET work_mem = '8MB';
EXCEPTION WHEN duplicate_object THEN NULL; END $$;

CREATE SCHEMA app AUTHORIZATION app_owner;
CREATE SCHEMA "Odd ""Name"".x";
COMMENT ON SCHEMA app IS 'the application; it''s here';

-- Types of every kind.
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy', 'it''s');
ALTER TYPE app.mood ADD VALUE 'meh' BEFORE 'ok';
CREATE DOMAIN app.email AS text COLLATE "C" NOT NULL DEFAULT 'a@b' CHECK (VALUE ~ '@') CHECK (length(VALUE) < 100);
CREATE TYPE app.pair AS (a integer, "b c" text);
CREATE TYPE app.span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE FUNCTION app.plus(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';

-- Every built-in type, its extremes, and NULLs.
CREATE TABLE app.every_type (
  id integer PRIMARY KEY,
  c_bool boolean, c_int2 smallint, c_int4 integer, c_int8 bigint,
  c_numeric numeric, c_numeric_p numeric(30, 10), c_float4 real, c_float8 double precision, c_money money,
  c_char character(7), c_varchar character varying(20), c_text text, c_name name, c_bytea bytea,
  c_date date, c_time time, c_timetz time with time zone, c_timestamp timestamp, c_timestamptz timestamp with time zone,
  c_interval interval, c_bit bit(5), c_varbit bit varying, c_uuid uuid, c_json json, c_jsonb jsonb, c_xml xml,
  c_inet inet, c_cidr cidr, c_macaddr macaddr, c_macaddr8 macaddr8,
  c_point point, c_line line, c_lseg lseg, c_box box, c_path path, c_polygon polygon, c_circle circle,
  c_tsvector tsvector, c_tsquery tsquery, c_oid oid, c_regclass regtype, c_pg_lsn pg_lsn,
  c_int4range int4range, c_numrange numrange, c_tsrange tsrange, c_tstzrange tstzrange, c_daterange daterange,
  c_int_array integer[], c_text_array text[], c_nested integer[][], c_mood app.mood, c_mood_array app.mood[],
  c_email app.email DEFAULT 'x@y', c_pair app.pair, c_span app.span, c_jsonpath jsonpath
);
INSERT INTO app.every_type (id) VALUES (1);
INSERT INTO app.every_type VALUES (2, true, 32767, 2147483647, 9223372036854775807,
  'NaN', 12345678901234567890.0123456789, 3.4028235e38, 1.7976931348623157e308, 92233720368547758.07,
  'pad', 'value', E'tab\tnewline\nreturn\rbackslash\\ quote'' \b\f\v', 'a name', decode((SELECT string_agg(lpad(to_hex(i), 2, '0'), '') FROM generate_series(0, 255) i), 'hex'),
  'infinity', '24:00:00', '23:59:59.999999-15:59', '294276-12-31 23:59:59.999999', 'infinity',
  '178000000 years', B'10101', B'1', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '{"a" :  [1, 2, null], "a": "twice"}', '{"b": 1e400, "a": "\u00e9"}', '<a b="c">x &amp; y</a>',
  '255.255.255.255/7', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
  '(1e300,-1e-300)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)', '((0,0),(1,1),(2,0))', '((0,0),(1,1),(2,0))', '<(0,0),1>',
  'a:1A fat:2B,4C cat:5', 'fat & (rat | cat:AB) & !x', 4294967295, 'integer', 'FFFFFFFF/FFFFFFFF',
  '[1,10)', '(,5]', '[2020-01-01,2021-01-01)', '[2020-01-01 00:00+02,)', 'empty',
  '{1,NULL,3}', ARRAY['a', NULL, 'NULL', '', 'c,d', '{e}', E'f\\"g', E'h\ti'], '[2:3][0:1]={{1,2},{3,4}}', 'happy', '{sad,meh,it''s}',
  'me@example.org', '(7,"x, ""y""")', '[1.5,2.5]', '$.a[*] ? (@ > 1)');
INSERT INTO app.every_type (id, c_int2, c_int4, c_int8, c_numeric, c_float4, c_float8, c_money, c_varchar, c_text, c_bytea, c_date, c_timestamp, c_timestamptz, c_interval, c_text_array, c_inet)
  VALUES (3, -32768, -2147483648, -9223372036854775808, -1e130, '-Infinity', 5e-324, -92233720368547758.08, '', '', '', '4713-01-01 BC', '4713-01-01 BC', '-infinity', '-178000000 years 3 mons -4 days 05:06:07.89', '{}', '::1/128');
INSERT INTO app.every_type (id, c_float4, c_float8, c_text, c_numeric) VALUES
  (4, '-0', 'NaN', '\N', 0.000000000000000000001), (5, 16777216, 0.1, '\.', 1e1000), (6, 1.1754944e-38, 2.2250738585072014e-308, 'Grüße, 日本語, 🛟', 1.10);
SET datestyle = 'SQL, DMY';
INSERT INTO app.every_type (id, c_date, c_text) VALUES (7, '31/12/1999', repeat(E'long line \t', 20000));
RESET datestyle;

-- Tables that are out of the ordinary.
CREATE TABLE app.duplicates (a integer, b text);
INSERT INTO app.duplicates SELECT 1, 'same' FROM generate_series(1, 5);
INSERT INTO app.duplicates VALUES (NULL, NULL), (NULL, NULL);
CREATE TABLE app.no_columns ();
INSERT INTO app.no_columns DEFAULT VALUES;
INSERT INTO app.no_columns DEFAULT VALUES;
CREATE TABLE app.empty_table (a integer);
CREATE TABLE app.one_text (t text);
INSERT INTO app.one_text VALUES (''), (''), (NULL), (E'\n'), (E'\\.');
CREATE UNLOGGED TABLE app.unlogged (id serial PRIMARY KEY, t text);
INSERT INTO app.unlogged (t) SELECT 'u' || i FROM generate_series(1, 20) i;
CREATE TABLE "Odd ""Name"".x"."Tab.le with spaces" ("Col ""q"" 1" integer, "größe (cm)" text, "select" text, "a, b" text);
INSERT INTO "Odd ""Name"".x"."Tab.le with spaces" VALUES (1, 'ä', 's', 'x'), (2, NULL, '', E'\t');
CREATE TABLE "Odd ""Name"".x"."日本語" ("列" text);
INSERT INTO "Odd ""Name"".x"."日本語" VALUES ('値');
CREATE TABLE app.dropped_column (a integer, gone text, b text);
INSERT INTO app.dropped_column VALUES (1, 'x', 'y');
ALTER TABLE app.dropped_column DROP COLUMN gone, ADD COLUMN late integer NOT NULL DEFAULT 42;
CREATE TABLE app.wide (id integer PRIMARY KEY, big text);
ALTER TABLE app.wide ALTER COLUMN big SET STORAGE EXTERNAL;
INSERT INTO app.wide SELECT i, repeat(md5(i::text), 10000) FROM generate_series(1, 3) i;

CREATE TABLE app.generated (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 5) PRIMARY KEY,
  other integer GENERATED BY DEFAULT AS IDENTITY, price numeric NOT NULL, tax numeric GENERATED ALWAYS AS (price * 0.2) STORED, note text);
INSERT INTO app.generated (price, note) VALUES (10, 'a'), (20.50, 'b');
CREATE TABLE app.only_generated (g integer GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO app.only_generated DEFAULT VALUES;

CREATE TABLE app.status (id serial PRIMARY KEY, state varchar(10) NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'open', 'done')),
  amount numeric(10, 2) CHECK (amount > 0), email app.email, who app.mood[] DEFAULT ARRAY['ok', 'sad']::app.mood[],
  starts timestamptz DEFAULT now(), CONSTRAINT "odd name" UNIQUE (state, amount));
INSERT INTO app.status (state, amount, email) VALUES ('new', 1, 'q@r'), ('done', 2.5, 's@t');
ALTER TABLE app.status ADD CONSTRAINT not_checked CHECK (amount < 1000000) NOT VALID;
CREATE TABLE app.child_of_status (id integer REFERENCES app.status ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, note text);
INSERT INTO app.child_of_status VALUES (1, 'x'), (2, 'y');
CREATE TABLE app.booking (room integer, during tsrange, EXCLUDE USING gist (during WITH &&));
INSERT INTO app.booking VALUES (1, '[2020-01-01,2020-01-02)');

-- Inheritance: after a restore, the child's columns come in another order.
CREATE TABLE app.parent (a integer, b text);
CREATE TABLE app.child (c integer, d text) INHERITS (app.parent);
INSERT INTO app.parent VALUES (1, 'parent');
ALTER TABLE app.parent ADD COLUMN e date DEFAULT '2020-01-01';
INSERT INTO app.child (a, b, c, d, e) VALUES (2, 'child', 3, 'd', '2021-02-03'), (4, NULL, 5, E'\t', NULL);

-- Partitions.
CREATE TABLE app.events (id bigint, day date NOT NULL, body text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE app.events_2020 PARTITION OF app.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE app.events_2021 PARTITION OF app.events FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY HASH (id);
CREATE TABLE app.events_2021_0 PARTITION OF app.events_2021 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.events_2021_1 (body text, day date NOT NULL, id bigint NOT NULL);
ALTER TABLE app.events_2021 ATTACH PARTITION app.events_2021_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE app.events_rest PARTITION OF app.events DEFAULT;
CREATE INDEX events_body ON app.events (lower(body));
INSERT INTO app.events SELECT i, date '2019-12-01' + i * 7, 'event ' || i FROM generate_series(1, 200) i;

-- Indexes of several kinds.
CREATE INDEX status_partial ON app.status (amount DESC NULLS LAST) INCLUDE (email) WHERE state IN ('new', 'open');
CREATE UNIQUE INDEX status_expression ON app.status (lower(state), (amount + 1));
CREATE INDEX every_gin ON app.every_type USING gin (c_jsonb);
CREATE INDEX every_brin ON app.every_type USING brin (id);
CREATE INDEX every_hash ON app.every_type USING hash (c_text);
ALTER TABLE app.status CLUSTER ON status_pkey;
CREATE STATISTICS app.status_stats (dependencies) ON state, amount FROM app.status;

-- Sequences.
CREATE SEQUENCE app.plain_sequence;
SELECT nextval('app.plain_sequence') FROM generate_series(1, 17) \g /dev/null
CREATE SEQUENCE app.down AS smallint INCREMENT BY -3 MINVALUE -1000 MAXVALUE 5 START 5 CYCLE CACHE 2;
SELECT nextval('app.down') FROM generate_series(1, 4) \g /dev/null
CREATE SEQUENCE app.never_used START 1000;

-- Routines, triggers, rules, views.
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
  NEW.note := coalesce(NEW.note, '') || ' touched'; -- a comment with ' quote and \ backslash
  RETURN NEW;
END $f$;
CREATE FUNCTION app.defaults(a integer DEFAULT 1, VARIADIC rest text[] DEFAULT '{}') RETURNS TABLE (x integer, y text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = app, pg_temp AS $$ SELECT a, unnest(rest) $$;
CREATE PROCEDURE app.proc(INOUT n integer) LANGUAGE plpgsql AS $$ BEGIN n := n + 1; END $$;
CREATE AGGREGATE app.total(integer) (sfunc = app.plus, stype = integer, initcond = '0');
CREATE OPERATOR app.<+> (leftarg = integer, rightarg = integer, function = app.plus);
CREATE FUNCTION app.mood_to_int(app.mood) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT length($1::text) $$;
CREATE CAST (app.mood AS integer) WITH FUNCTION app.mood_to_int(app.mood);
CREATE COLLATION app.plain (locale = 'C');
CREATE TEXT SEARCH DICTIONARY app.dict (template = simple);
CREATE TEXT SEARCH CONFIGURATION app.search (copy = simple);

CREATE TRIGGER touch_note BEFORE INSERT OR UPDATE OF note ON app.child_of_status FOR EACH ROW WHEN (NEW.note IN ('x', 'y')) EXECUTE FUNCTION app.touch();
CREATE TRIGGER disabled_one AFTER DELETE ON app.status FOR EACH STATEMENT EXECUTE FUNCTION app.touch();
ALTER TABLE app.status DISABLE TRIGGER disabled_one;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.generated DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER on_partitions BEFORE INSERT ON app.events_2020 FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE RULE no_delete AS ON DELETE TO app.empty_table DO INSTEAD NOTHING;

CREATE VIEW app.open_status AS SELECT id, state, amount FROM app.status WHERE state IN ('new', 'open') WITH LOCAL CHECK OPTION;
CREATE VIEW app.view_on_view AS SELECT v.*, s.email FROM app.open_status v JOIN app.status s USING (id);
CREATE MATERIALIZED VIEW app.totals AS SELECT state, sum(amount) AS total FROM app.view_on_view GROUP BY state;
CREATE UNIQUE INDEX totals_state ON app.totals (state);
CREATE MATERIALIZED VIEW app.unfilled AS SELECT 1 AS one WITH NO DATA;
CREATE VIEW app.secure WITH (security_barrier) AS SELECT * FROM app.parent WHERE a > -1;

-- Row-level security.
CREATE TABLE app.private (id integer, owner name DEFAULT current_user, secret text);
INSERT INTO app.private VALUES (1, 'app_user', 'one'), (2, 'other', 'two');
ALTER TABLE app.private ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON app.private FOR ALL TO app_user, "app reader" USING (owner = current_user) WITH CHECK (secret IN ('one', 'two'));
CREATE POLICY nothing_odd ON app.private AS RESTRICTIVE FOR SELECT USING (id > 0);

-- Foreign data.
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing OPTIONS (host 'example.org');
CREATE FOREIGN TABLE app.far (a integer, b text) SERVER elsewhere OPTIONS (table_name 'x');

-- Owners, privileges, comments, publications, event triggers, settings.
ALTER TABLE app.status OWNER TO app_owner;
ALTER VIEW app.open_status OWNER TO app_owner;
ALTER FUNCTION app.plus(integer, integer) OWNER TO app_owner;
GRANT USAGE ON SCHEMA app TO "app reader";
GRANT SELECT ON ALL TABLES IN SCHEMA app TO "app reader";
GRANT SELECT (id, note), UPDATE (note) ON app.generated TO app_user WITH GRANT OPTION;
GRANT USAGE ON SEQUENCE app.plain_sequence TO app_user;
REVOKE EXECUTE ON FUNCTION app.plus(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.plus(integer, integer) TO app_user;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app GRANT SELECT ON TABLES TO "app reader";
COMMENT ON TABLE app.status IS E'two\nlines';
COMMENT ON COLUMN app.status.state IS 'a column';
COMMENT ON FUNCTION app.plus(integer, integer) IS 'adds';
COMMENT ON CONSTRAINT "odd name" ON app.status IS 'a constraint';
COMMENT ON TRIGGER touch_note ON app.child_of_status IS 'a trigger';
CREATE PUBLICATION some_tables FOR TABLE app.status, app.generated WITH (publish = 'insert, update');
CREATE FUNCTION app.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER on_ddl ON ddl_command_start WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION app.on_ddl();
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I OWNER TO app_owner', current_database());
  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CREATE ON DATABASE %I TO app_user WITH GRANT OPTION', current_database());
  EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 90', current_database());
  EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), repeat('long ', 200));
  EXECUTE format('ALTER DATABASE %I SET app.long = %L', current_database(), repeat('long ', 200));
  EXECUTE format('ALTER DATABASE %I SET search_path = app, "$user", public', current_database());
  EXECUTE format('ALTER ROLE app_user IN DATABASE %I SET work_mem = %L', current_database(), '16MB');
END $$;

-- Large objects: every byte, empty, and longer than any buffer.
SELECT lo_from_bytea(70001, (SELECT c_bytea FROM app.every_type WHERE id = 2)), lo_from_bytea(70002, ''),
  lo_from_bytea(70003, decode(repeat('00ff0a5c2e0a', 100000), 'hex')) \g /dev/null
COMMENT ON LARGE OBJECT 70001 IS 'a large object';
ALTER LARGE OBJECT 70001 OWNER TO app_owner;
