use diesel::debug_query;
use diesel::pg::Pg;
use diesel::query_builder::QueryId;
use diesel::sql_types::{Array, BigInt, Text};

use super::{Part, count, parts};

fragment! {
    struct Named<'a> {
        name: &'a str as Text,
    }
    "name = :name"
}

statement! {
    struct Find<'a> {
        ids: Vec<i64> as Array<BigInt>,
        named: Named<'a>,
        limit: i64 as BigInt,
    }
    "SELECT id::text, ':limit', \":ids\" FROM unnest(:ids) AS x (id) WHERE :named AND id < :limit",
    " OR id > :limit",
}

#[test]
fn a_place_is_a_parameter_each_time_and_a_fragment_is_its_sql() {
    let find = Find { ids: vec![1, 2], named: Named { name: "a" }, limit: 3 };
    assert_eq!(
        debug_query::<Pg, _>(&find).to_string(),
        "SELECT id::text, ':limit', \":ids\" FROM unnest($1) AS x (id) WHERE name = $2 AND id < $3 OR id > $4 \
         -- binds: [[1, 2], \"a\", 3, 3]"
    );
}

/// A fragment whose text differs from run to run.
#[derive(Debug)]
struct Varying;

impl QueryId for Varying {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl diesel::query_builder::QueryFragment<Pg> for Varying {
    fn walk_ast<'b>(
        &'b self,
        mut out: diesel::query_builder::AstPass<'_, 'b, Pg>,
    ) -> diesel::QueryResult<()> {
        out.push_sql("true");
        Ok(())
    }
}

statement! {
    struct FindVarying {
        condition: Varying,
    }
    "SELECT 1 WHERE :condition"
}

#[test]
fn a_statement_is_found_by_its_type_unless_a_fragment_varies() {
    const { assert!(Find::HAS_STATIC_QUERY_ID && Named::HAS_STATIC_QUERY_ID) };
    const { assert!(!FindVarying::HAS_STATIC_QUERY_ID) };
    assert!(Find::query_id().is_some() && Find::query_id() != Named::query_id());
    assert_eq!(FindVarying::query_id(), None);
    assert_eq!(
        debug_query::<Pg, _>(&FindVarying { condition: Varying }).to_string(),
        "SELECT 1 WHERE true -- binds: []"
    );
}

#[test]
fn quotes_and_casts_have_no_places() {
    const SQL: &[&str] = &["SELECT 'it''s :a' || ':a'::text, \":a\", x[1:2], :a_1::text"];
    assert_eq!(count(SQL), 3);
    let [before, place, after] = parts(SQL, &["a_1"]);
    assert_eq!(before, Part::Sql("SELECT 'it''s :a' || ':a'::text, \":a\", x[1:2], "));
    assert_eq!((place, after), (Part::Value("a_1"), Part::Sql("::text")));
}

#[test]
#[should_panic(expected = "names a field that the statement does not have")]
fn a_place_is_a_field() {
    let _: [Part; 3] = parts(&["SELECT :b"], &["a"]);
}

#[test]
#[should_panic(expected = "leaves out a field")]
fn a_field_has_a_place() {
    let _: [Part; 1] = parts(&["SELECT 1"], &["a"]);
}
