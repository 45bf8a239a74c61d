//! The inventory of a database: everything in its catalog besides rows.
//!
//! Guarantees: a database and a faithful restore of it have the same text. Names are qualified,
//! object ids do not appear, lists are in byte order, default privileges are spelled out, and
//! expressions are written as after a restore (see [`settled`]). Objects of the system and of
//! extensions are left out; extensions themselves are listed, with their versions. What `pg_dump`
//! leaves out is left out here: the server's own bookkeeping, shell operators, comments on objects
//! that are gone. [`unknown_options`] names options that this code does not know; they are not
//! compared.

use super::properties;
use super::session::{Server, Session, listed};
use crate::error::{Code, Error, Result};
use crate::fingerprint::{DATABASE_PROPERTY, DatabaseInventory, are_objects, settled};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128;

/// Longest definition that is kept as text; a longer one is kept as a hash.
const DEFINITION_BYTES_MAX: usize = 600;

/// Reads the inventory as the session sees it.
pub fn take(session: &mut Session, server: &Server) -> Result<DatabaseInventory> {
    let mut inventory = DatabaseInventory {
        release: Some(format!("PostgreSQL {}", server.major)),
        ..DatabaseInventory::default()
    };
    for (kind, sql) in questions(server.major) {
        let mut objects = BTreeMap::new();
        let found = listed(session, &sql).map_err(|mut error| {
            error.message = format!("{} while {kind} objects were listed", error.message);
            error
        })?;
        for (name, definition) in found {
            let definition = match RESTORED_FROM_HERE.contains(&kind) {
                true => definition,
                false => shorten(settled(&definition)),
            };
            if let Some(before) = objects.insert(name.clone(), definition) {
                return Err(Error::new(
                    Code::SourceFailed,
                    format!("the catalog lists {kind} {name} twice ({before})"),
                ));
            }
        }
        if !objects.is_empty() {
            inventory.objects.insert(kind.to_owned(), objects);
        }
    }
    for (name, value) in listed(session, SEQUENCE_VALUES)? {
        if let Ok(value) = value.parse() {
            inventory.sequences.insert(name, value);
        }
    }
    Ok(inventory)
}

/// Kinds that a dump does not carry. A restore takes them from the inventory, where they must be
/// whole.
const RESTORED_FROM_HERE: &[&str] = &["database", "setting", DATABASE_PROPERTY];

/// Number of objects of each kind. Properties of the database itself are not objects in it.
pub fn counts(inventory: &DatabaseInventory) -> BTreeMap<String, u64> {
    let objects = inventory.objects.iter();
    objects
        .filter(|(kind, _)| are_objects(kind))
        .map(|(kind, objects)| (kind.clone(), objects.len() as u64))
        .collect()
}

fn shorten(definition: String) -> String {
    if definition.len() <= DEFINITION_BYTES_MAX {
        return definition;
    }
    format!("xxh3:{:032x}", xxh3_128(definition.as_bytes()))
}

/// Condition that an object is the user's own, and not an extension's. `class` is its catalog.
fn own(class: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = '{class}'::regclass \
         AND x.objid = {oid} AND x.deptype = 'e')"
    )
}

/// Condition that a schema, under the alias `n`, is the user's own.
pub const OWN_SCHEMA: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// The user's own relations, under the alias `c`, with their schemas.
pub fn own_relations() -> String {
    format!(
        "(pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         AND {OWN_SCHEMA} AND c.relpersistence <> 't' AND {})",
        own("pg_class", "c.oid")
    )
}

/// Values already handed out, so that a restored sequence is never below the captured one. For a
/// descending sequence, the negated value.
const SEQUENCE_VALUES: &str = "SELECT format('%I.%I', n.nspname, c.relname), \
    CASE WHEN has_sequence_privilege(c.oid, 'SELECT') THEN \
      (CASE WHEN s.seqincrement < 0 THEN - pg_sequence_last_value(c.oid)::numeric \
       ELSE pg_sequence_last_value(c.oid) END)::text END \
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relpersistence <> 't' \
    AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_depend x \
      WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e')";

/// Each kind of object, with the query that lists it.
fn questions(major: u32) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("database", database(major)),
        ("setting", settings()),
        (DATABASE_PROPERTY, properties::question()),
        ("schema", format!("SELECT quote_ident(n.nspname), '' FROM pg_namespace n WHERE {OWN_SCHEMA} AND {}", own("pg_namespace", "n.oid"))),
        ("extension", "SELECT quote_ident(e.extname), e.extversion || ' in ' || quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace".into()),
        ("table", tables(major)),
        ("view", views("v")),
        (MATERIALIZED_VIEW, views("m")),
        ("index", indexes()),
        ("constraint", constraints(major)),
        ("trigger", triggers()),
        ("rule", rules()),
        ("policy", policies()),
        ("routine", routines(major)),
        ("aggregate", aggregates(major)),
        ("type", types()),
        ("sequence", sequences()),
        ("statistics", statistics()),
        ("event trigger", "SELECT quote_ident(e.evtname), concat_ws(' ', e.evtevent, e.evtfoid::regprocedure::text, e.evtenabled, e.evttags::text) FROM pg_event_trigger e".into()),
        ("publication", publications(major)),
        ("default privilege", default_privileges()),
        ("comment", comments()),
        ("owner", format!("{} SELECT o.kind || ' ' || o.name, pg_get_userbyid(o.owner) FROM objects o", objects())),
        ("grant", format!("{} SELECT o.kind || ' ' || o.name, {} FROM objects o WHERE o.acl IS NOT NULL", objects(), acl_text("o.acl"))),
        ("role", roles()),
        ("large object", "SELECT 'owned by ' || quote_ident(pg_get_userbyid(l.lomowner)), count(*)::text FROM pg_largeobject_metadata l GROUP BY l.lomowner".into()),
    ];
    for (kind, class) in PLAIN {
        let oid = "o.oid";
        // An operator that another only names as its commutator or negator has no function.
        let whole = match *class {
            "pg_operator" => "o.oprcode <> 0",
            _ => "true",
        };
        all.push((
            kind,
            format!(
                "SELECT i.identity, '' FROM {class} o, pg_identify_object('{class}'::regclass, o.oid, 0) i \
                 WHERE o.oid >= 16384 AND {whole} AND coalesce(i.schema, '') !~ '^pg_' AND {}",
                own(class, oid)
            ),
        ));
    }
    all
}

/// Kinds of which only the names are compared.
const PLAIN: &[(&str, &str)] = &[
    ("access method", "pg_am"),
    ("cast", "pg_cast"),
    ("collation", "pg_collation"),
    ("conversion", "pg_conversion"),
    ("foreign data wrapper", "pg_foreign_data_wrapper"),
    ("foreign server", "pg_foreign_server"),
    ("language", "pg_language"),
    ("operator", "pg_operator"),
    ("operator class", "pg_opclass"),
    ("operator family", "pg_opfamily"),
    ("text search configuration", "pg_ts_config"),
    ("text search dictionary", "pg_ts_dict"),
    ("text search parser", "pg_ts_parser"),
    ("text search template", "pg_ts_template"),
    ("transform", "pg_transform"),
];

/// The query for one row with a JSON object, which [`super::admin::create_database`] reads back.
pub fn database(major: u32) -> String {
    let (provider, locale) = match major {
        ..=14 => ("'c'", "NULL"),
        15..=16 => ("d.datlocprovider", "d.daticulocale"),
        _ => ("d.datlocprovider", "d.datlocale"),
    };
    format!(
        "SELECT 'locale', json_build_object('encoding', pg_encoding_to_char(d.encoding), \
         'collate', d.datcollate, 'ctype', d.datctype, 'provider', {provider}, 'locale', {locale})::text \
         FROM pg_database d WHERE d.datname = current_database()"
    )
}

/// The query for `ALTER DATABASE … SET` and `ALTER ROLE … IN DATABASE … SET`, which are not in a
/// dump.
fn settings() -> String {
    "SELECT CASE s.setrole WHEN 0 THEN '' ELSE quote_ident(pg_get_userbyid(s.setrole)) || ' ' END \
     || split_part(v, '=', 1), substr(v, strpos(v, '=') + 1) \
     FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) v \
     WHERE d.datname = current_database()"
        .into()
}

/// The query for tables. Columns are listed by name: a dump and a restore may give an inherited
/// child another order.
fn tables(major: u32) -> String {
    let generated = if major >= 12 { "a.attgenerated" } else { "''" };
    format!(
        "SELECT format('%I.%I', n.nspname, c.relname), concat_ws(' ', \
           CASE c.relkind WHEN 'p' THEN 'partitioned' WHEN 'f' THEN 'foreign' ELSE 'plain' END, \
           CASE c.relpersistence WHEN 'u' THEN 'unlogged' END, \
           '(' || coalesce((SELECT string_agg(concat_ws(' ', quote_ident(a.attname), \
             format_type(a.atttypid, a.atttypmod), \
             (SELECT format('collate %I.%I', m.nspname, o.collname) FROM pg_collation o \
               JOIN pg_namespace m ON m.oid = o.collnamespace \
               WHERE o.oid = a.attcollation AND a.attcollation <> t.typcollation), \
             CASE WHEN a.attnotnull THEN 'not null' END, \
             'identity ' || nullif(a.attidentity::text, ''), \
             'generated ' || nullif({generated}::text, ''), \
             'default ' || pg_get_expr(d.adbin, d.adrelid), \
             CASE WHEN a.attstorage <> t.typstorage THEN 'storage ' || a.attstorage::text END, \
             {}), ', ' ORDER BY a.attname COLLATE \"C\") \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '') || ')', \
           'inherits ' || (SELECT string_agg(format('%I.%I', pn.nspname, p.relname), ', ' ORDER BY h.inhseqno) \
             FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent \
             JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE h.inhrelid = c.oid), \
           'partition by ' || CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END, \
           pg_get_expr(c.relpartbound, c.oid), \
           'of ' || nullif(c.reloftype, 0)::regtype::text, \
           'with ' || (SELECT string_agg(v, ', ' ORDER BY v COLLATE \"C\") FROM unnest(c.reloptions) v \
             WHERE v ~ '{TABLE_OPTIONS}'), \
           CASE WHEN c.relrowsecurity THEN 'row security' END, \
           CASE WHEN c.relforcerowsecurity THEN 'forced row security' END, \
           CASE WHEN c.relreplident NOT IN ('d', 'n') OR (c.relreplident = 'n' AND c.relkind IN ('r', 'p')) \
             THEN 'replica identity ' || c.relreplident::text END) \
         FROM {} WHERE c.relkind IN ('r', 'p', 'f')",
        options("a.attoptions", COLUMN_OPTIONS),
        own_relations()
    )
}

/// The kind of views that hold rows of their own.
pub const MATERIALIZED_VIEW: &str = "materialized view";

/// Options that an operator sets and `pg_dump` prints, as patterns of `name=value`. Anything else
/// in the catalog's lists may be the server's own, such as `pg_attver`, and may differ after a
/// restore.
const COLUMN_OPTIONS: &str = "^n_distinct(_inherited)?=";
const TABLE_OPTIONS: &str = "^(autovacuum_[a-z_]+|fillfactor|log_autovacuum_min_duration|oids|\
    parallel_workers|toast_tuple_target|user_catalog_table|vacuum_index_cleanup|\
    vacuum_max_eager_freeze_failure_rate|vacuum_truncate)=";
const VIEW_OPTIONS: &str = "^(check_option|security_barrier|security_invoker)=";

/// Options known to be the server's own, and of no interest to anybody else.
const BOOKKEEPING: &str = "^pg_attver=";

/// Selects the options in a list that match a pattern, in the server's notation for lists; null if
/// there are none. `pg_dump` writes the check of a view after the view, so it is last after a
/// restore.
fn options(list: &str, known: &str) -> String {
    format!(
        "nullif(ARRAY(SELECT v FROM unnest({list}) WITH ORDINALITY u(v, at) WHERE v ~ '{known}' \
         ORDER BY v LIKE 'check\\_option=%', at), '{{}}')::text"
    )
}

/// Options of tables, views and columns that the inventory does not compare because it does not
/// know them: by name, with the places where they were seen.
pub fn unknown_options(session: &mut Session) -> Result<BTreeMap<String, Vec<String>>> {
    let sql = format!(
        "SELECT format('%I.%I', n.nspname, c.relname), split_part(v, '=', 1) \
         FROM {own}, unnest(c.reloptions) v WHERE v !~ CASE c.relkind WHEN 'v' THEN '{VIEW_OPTIONS}' \
           ELSE '{TABLE_OPTIONS}' END AND c.relkind IN ('r', 'p', 'f', 'v', 'm') \
         UNION ALL SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname), split_part(v, '=', 1) \
         FROM {own} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped, \
           unnest(a.attoptions) v WHERE v !~ '{COLUMN_OPTIONS}' AND v !~ '{BOOKKEEPING}' \
           AND c.relkind IN ('r', 'p', 'f')",
        own = own_relations()
    );
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (place, option) in listed(session, &sql)? {
        found.entry(option).or_default().push(place);
    }
    found.values_mut().for_each(|places| places.sort());
    Ok(found)
}

/// Limits for what `pg_dump` leaves out although somebody may have put it there: rows of tables
/// that belong to an extension which does not ask for them, and objects in a schema of the server.
pub fn left_out(session: &mut Session) -> Result<Vec<String>> {
    let mut limits = Vec::new();
    for (table, extension) in listed(session, TABLES_OF_EXTENSIONS)? {
        let has_rows = format!("SELECT EXISTS (SELECT FROM ONLY {table})");
        if session.run(&has_rows)? != "f" {
            limits.push(format!(
                "{table}: a table of extension {extension}; its rows are not in the dump, and a restore has those that CREATE EXTENSION makes"
            ));
        }
    }
    for (name, kind) in listed(session, IN_SCHEMAS_OF_THE_SERVER)? {
        limits.push(format!(
            "{name}: a {kind} in a schema of the server's own; it is not in the dump"
        ));
    }
    Ok(limits)
}

/// Tables whose rows are not dumped, as far as this role may read them.
const TABLES_OF_EXTENSIONS: &str = "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(e.extname) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_depend d \
      ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' \
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid \
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid <> ALL (coalesce(e.extconfig, '{}')) \
    AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')";

/// Tables and routines, except those of the standard's schema: a patch release may have created
/// them anew.
const IN_SCHEMAS_OF_THE_SERVER: &str = "SELECT format('%I.%I', n.nspname, c.relname), 'table' \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.oid >= 16384 AND c.relkind IN ('r', 'p') \
    AND NOT (n.nspname = 'information_schema' AND c.relname ~ '^sql_') AND NOT EXISTS (SELECT FROM pg_depend d \
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
    UNION ALL SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), 'routine' \
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
    WHERE n.nspname IN ('pg_catalog', 'information_schema') AND p.oid >= 16384 AND p.proname !~ '^_pg_' \
    AND NOT EXISTS (SELECT FROM pg_depend d \
      WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')";

fn views(kind: &str) -> String {
    let known = match kind {
        "v" => VIEW_OPTIONS,
        _ => TABLE_OPTIONS,
    };
    format!(
        "SELECT format('%I.%I', n.nspname, c.relname), concat_ws(' ', \
           '(' || (SELECT string_agg(concat_ws(' ', quote_ident(a.attname), \
             format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) \
             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) || ')', \
           CASE WHEN NOT c.relispopulated THEN 'not populated' END, \
           {}, pg_get_viewdef(c.oid)) \
         FROM {} WHERE c.relkind = '{kind}'",
        options("c.reloptions", known),
        own_relations()
    )
}

/// The query for indexes. Invalid ones are left out: `pg_dump` does not dump them, and the capture
/// warns of them. The index of a partitioned table is not valid while a partition lacks its part.
/// The catalog's own mark for that may be out of date: it remains after a partition is gone.
fn indexes() -> String {
    format!(
        "SELECT format('%I.%I', n.nspname, c.relname), concat_ws(' ', pg_get_indexdef(i.indexrelid), \
           CASE WHEN NOT i.indisvalid AND (c.relkind = 'i' OR EXISTS (SELECT FROM pg_inherits h \
             WHERE h.inhparent = i.indrelid AND NOT EXISTS (SELECT FROM pg_inherits k \
               JOIN pg_index p ON p.indexrelid = k.inhrelid AND p.indisvalid AND p.indrelid = h.inhrelid \
               WHERE k.inhparent = i.indexrelid))) THEN 'not valid' END, \
           CASE WHEN i.indisclustered THEN 'clustered' END, \
           CASE WHEN i.indisreplident THEN 'replica identity' END) \
         FROM pg_index i JOIN {} ON c.oid = i.indexrelid AND c.relkind IN ('i', 'I') \
         AND (i.indisvalid OR c.relkind = 'I')",
        own_relations()
    )
}

/// The query for the names of invalid indexes.
pub fn invalid_indexes() -> String {
    format!(
        "SELECT coalesce(string_agg(format('%I.%I', n.nspname, c.relname), ', '), '') \
         FROM pg_index i JOIN {} ON c.oid = i.indexrelid AND c.relkind = 'i' AND NOT i.indisvalid",
        own_relations()
    )
}

/// The query for constraints. Foreign keys of partitions are left out: the server names them
/// itself.
fn constraints(major: u32) -> String {
    let parent = if major >= 11 { "k.conparentid" } else { "0" };
    format!(
        "SELECT format('%I.%I.%I', n.nspname, coalesce(c.relname, t.typname), k.conname), \
           pg_get_constraintdef(k.oid) \
         FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace AND {OWN_SCHEMA} \
         LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid \
         WHERE NOT (k.contype = 'f' AND {parent} <> 0) AND k.contype <> 't' \
         AND coalesce(c.relpersistence, 'p') <> 't' \
         AND {} AND {} AND {}",
        own("pg_constraint", "k.oid"),
        own("pg_class", "k.conrelid"),
        own("pg_type", "k.contypid"),
    )
}

fn triggers() -> String {
    format!(
        "SELECT format('%I.%I.%I', n.nspname, c.relname, g.tgname), \
           concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled) \
         FROM pg_trigger g JOIN {} ON c.oid = g.tgrelid AND NOT g.tgisinternal",
        own_relations()
    )
}

fn rules() -> String {
    format!(
        "SELECT format('%I.%I.%I', n.nspname, c.relname, r.rulename), \
           concat_ws(' ', pg_get_ruledef(r.oid), r.ev_enabled) \
         FROM pg_rewrite r JOIN {} ON c.oid = r.ev_class AND r.rulename <> '_RETURN'",
        own_relations()
    )
}

fn policies() -> String {
    format!(
        "SELECT format('%I.%I.%I', n.nspname, c.relname, p.polname), concat_ws(' ', p.polcmd, \
           CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, \
           'to ' || (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(r)) END, \
             ', ' ORDER BY CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END::text COLLATE \"C\") \
             FROM unnest(p.polroles) r), \
           'using ' || pg_get_expr(p.polqual, p.polrelid), \
           'check ' || pg_get_expr(p.polwithcheck, p.polrelid)) \
         FROM pg_policy p JOIN {} ON c.oid = p.polrelid",
        own_relations()
    )
}

fn aggregate_test(major: u32) -> &'static str {
    if major >= 11 {
        "p.prokind = 'a'"
    } else {
        "p.proisagg"
    }
}

fn routines(major: u32) -> String {
    format!(
        "SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), \
           pg_get_functiondef(p.oid) \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OWN_SCHEMA} \
         WHERE NOT {} AND {} \
         AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_proc'::regclass \
           AND x.objid = p.oid AND x.deptype = 'i')",
        aggregate_test(major),
        own("pg_proc", "p.oid")
    )
}

fn aggregates(major: u32) -> String {
    format!(
        "SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), \
           concat_ws(' ', a.aggkind, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, \
             format_type(a.aggtranstype, NULL), 'initial ' || a.agginitval, p.proparallel) \
         FROM pg_proc p JOIN pg_aggregate a ON a.aggfnoid = p.oid \
         JOIN pg_namespace n ON n.oid = p.pronamespace AND {OWN_SCHEMA} WHERE {} AND {}",
        aggregate_test(major),
        own("pg_proc", "p.oid")
    )
}

fn types() -> String {
    format!(
        "SELECT format('%I.%I', n.nspname, t.typname), CASE t.typtype \
         WHEN 'e' THEN 'enum ' || coalesce((SELECT string_agg(quote_literal(e.enumlabel), ', ' \
           ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '') \
         WHEN 'd' THEN concat_ws(' ', 'domain', format_type(t.typbasetype, t.typtypmod), \
           CASE WHEN t.typnotnull THEN 'not null' END, \
           'default ' || coalesce(pg_get_expr(t.typdefaultbin, 'pg_type'::regclass), t.typdefault)) \
         WHEN 'c' THEN 'composite ' || coalesce((SELECT string_agg(concat_ws(' ', quote_ident(a.attname), \
           format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) FROM pg_attribute a \
           WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '') \
         WHEN 'r' THEN (SELECT concat_ws(' ', 'range', format_type(g.rngsubtype, NULL), \
           nullif(g.rngcanonical, 0)::regproc::text, nullif(g.rngsubdiff, 0)::regproc::text) \
           FROM pg_range g WHERE g.rngtypid = t.oid) \
         ELSE 'base ' || t.typinput::text END \
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND {OWN_SCHEMA} \
         LEFT JOIN pg_class c ON c.oid = t.typrelid \
         WHERE t.typtype IN ('b', 'c', 'd', 'e', 'r') AND (t.typrelid = 0 OR c.relkind = 'c') \
         AND t.typisdefined AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) \
         AND {}",
        own("pg_type", "t.oid")
    )
}

fn sequences() -> String {
    format!(
        "SELECT format('%I.%I', n.nspname, c.relname), concat_ws(' ', format_type(s.seqtypid, NULL), \
           'start', s.seqstart, 'increment', s.seqincrement, 'from', s.seqmin, 'to', s.seqmax, \
           'cache', s.seqcache, CASE WHEN s.seqcycle THEN 'cycle' END, \
           CASE c.relpersistence WHEN 'u' THEN 'unlogged' END, \
           'of ' || (SELECT format('%I.%I.%I', pn.nspname, p.relname, a.attname) FROM pg_depend d \
             JOIN pg_class p ON p.oid = d.refobjid JOIN pg_namespace pn ON pn.oid = p.relnamespace \
             JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = d.refobjsubid \
             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
             AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LIMIT 1)) \
         FROM pg_sequence s JOIN {} ON c.oid = s.seqrelid",
        own_relations()
    )
}

fn statistics() -> String {
    format!(
        "SELECT format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid) \
         FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace AND {OWN_SCHEMA} WHERE {}",
        own("pg_statistic_ext", "s.oid")
    )
}

fn publications(major: u32) -> String {
    let truncate = if major >= 11 { "p.pubtruncate" } else { "NULL" };
    let via_root = if major >= 13 { "p.pubviaroot" } else { "NULL" };
    let (filter, schemas) = if major >= 15 {
        (
            "pg_get_expr(r.prqual, r.prrelid)",
            "(SELECT string_agg(quote_ident(m.nspname), ', ' ORDER BY m.nspname) \
              FROM pg_publication_namespace k JOIN pg_namespace m ON m.oid = k.pnnspid WHERE k.pnpubid = p.oid)",
        )
    } else {
        ("NULL", "NULL")
    };
    format!(
        "SELECT quote_ident(p.pubname), concat_ws(' ', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, \
           {truncate}, {via_root}, 'tables ' || (SELECT string_agg(concat_ws(' ', r.prrelid::regclass, {filter}), \
             ', ' ORDER BY r.prrelid::regclass::text COLLATE \"C\") FROM pg_publication_rel r WHERE r.prpubid = p.oid), \
           'schemas ' || {schemas}) FROM pg_publication p"
    )
}

fn default_privileges() -> String {
    format!(
        "SELECT concat_ws(' ', quote_ident(pg_get_userbyid(d.defaclrole)), quote_ident(n.nspname), d.defaclobjtype), {} \
         FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace",
        acl_text("d.defaclacl")
    )
}

/// The query for comments on what is dumped. Subscriptions are not compared, and a comment can
/// outlive one; invalid indexes are left out.
fn comments() -> String {
    "SELECT i.type || ' ' || i.identity, d.description \
         FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) i \
         WHERE d.objoid >= 16384 AND coalesce(i.schema, '') !~ '^pg_' \
         AND d.classoid NOT IN ('pg_extension'::regclass, 'pg_largeobject'::regclass, 'pg_subscription'::regclass) \
         AND NOT EXISTS (SELECT FROM pg_index v JOIN pg_class c ON c.oid = v.indexrelid AND c.relkind = 'i' \
           WHERE d.classoid = 'pg_class'::regclass AND d.objoid = v.indexrelid AND NOT v.indisvalid) \
         AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = d.classoid AND x.objid = d.objoid AND x.deptype = 'e')"
        .into()
}

/// The query for everything that has an owner and privileges. An absent list of privileges means
/// its default.
fn objects() -> String {
    format!(
        "WITH objects(kind, name, owner, acl) AS ( \
         SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'relation' END, format('%I.%I', n.nspname, c.relname), \
           c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner)) \
           FROM {} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') \
         UNION ALL SELECT 'column', format('%I.%I.%I', n.nspname, c.relname, a.attname), c.relowner, a.attacl \
           FROM pg_attribute a JOIN {} ON c.oid = a.attrelid WHERE a.attacl IS NOT NULL AND NOT a.attisdropped \
         UNION ALL SELECT 'routine', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), \
           p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) \
           FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OWN_SCHEMA} WHERE {} \
           AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_proc'::regclass \
             AND x.objid = p.oid AND x.deptype = 'i') \
         UNION ALL SELECT 'type', format('%I.%I', n.nspname, t.typname), t.typowner, coalesce(t.typacl, acldefault('T', t.typowner)) \
           FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND {OWN_SCHEMA} \
           LEFT JOIN pg_class c ON c.oid = t.typrelid \
           WHERE t.typtype IN ('b', 'c', 'd', 'e', 'r') AND (t.typrelid = 0 OR c.relkind = 'c') \
           AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) AND {} \
         UNION ALL SELECT 'schema', quote_ident(n.nspname), n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)) \
           FROM pg_namespace n WHERE {OWN_SCHEMA} AND {} \
         UNION ALL SELECT 'event trigger', quote_ident(e.evtname), e.evtowner, NULL FROM pg_event_trigger e WHERE {} \
         UNION ALL SELECT 'foreign data wrapper', quote_ident(f.fdwname), f.fdwowner, coalesce(f.fdwacl, acldefault('F', f.fdwowner)) \
           FROM pg_foreign_data_wrapper f WHERE {} \
         UNION ALL SELECT 'foreign server', quote_ident(s.srvname), s.srvowner, coalesce(s.srvacl, acldefault('S', s.srvowner)) \
           FROM pg_foreign_server s WHERE {})",
        own_relations(),
        own_relations(),
        own("pg_proc", "p.oid"),
        own("pg_type", "t.oid"),
        own("pg_namespace", "n.oid"),
        own("pg_event_trigger", "e.oid"),
        own("pg_foreign_data_wrapper", "f.oid"),
        own("pg_foreign_server", "s.oid"),
    )
}

/// The grants of a list of privileges in byte order, without their grantors.
fn acl_text(acl: &str) -> String {
    format!(
        "(SELECT string_agg(g.entry, ', ' ORDER BY g.entry COLLATE \"C\") FROM ( \
           SELECT CASE x.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(x.grantee)) END || '=' || \
           string_agg(DISTINCT x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ',') AS entry \
           FROM aclexplode({acl}) x GROUP BY x.grantee) g)"
    )
}

/// The query for the roles that owners, privileges and policies name: a restore needs them.
fn roles() -> String {
    format!(
        "{} SELECT DISTINCT pg_get_userbyid(r.oid)::text, '' FROM ( \
         SELECT o.owner AS oid FROM objects o \
         UNION SELECT x.grantee FROM objects o, aclexplode(o.acl) x \
         UNION SELECT unnest(p.polroles) FROM pg_policy p \
         UNION SELECT d.defaclrole FROM pg_default_acl d \
         UNION SELECT x.grantee FROM pg_default_acl d, aclexplode(d.defaclacl) x) r WHERE r.oid <> 0",
        objects()
    )
}
