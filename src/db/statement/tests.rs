use diesel::debug_query;
use diesel::pg::Pg;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Text};

use super::{Joined, Number, Part, Sql, count, joined, parts};

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

fragment! {
    enum Condition<'a> {
        Between { from: i64 as BigInt, until: i64 as BigInt, column: Sql } =>
            ":column >= :from AND :column < :until",
        Is { named: Named<'a> } => ":named",
        Exists => "id IS NOT NULL",
    }
}

statement! {
    struct List<'a> {
        conditions: Joined<Condition<'a>>,
        order: Sql,
    }
    "SELECT id FROM x WHERE :conditions ORDER BY :order"
}

statement! {
    struct Table {
        place: Number,
    }
    "SELECT 1 FROM t_:place"
}

fn sql(statement: &impl QueryFragment<Pg>) -> String {
    debug_query::<Pg, _>(statement).to_string()
}

#[test]
fn a_place_is_a_parameter_each_time_and_a_fragment_is_its_sql() {
    let find = Find { ids: vec![1, 2], named: Named { name: "a" }, limit: 3 };
    assert_eq!(
        sql(&find),
        "SELECT id::text, ':limit', \":ids\" FROM unnest($1) AS x (id) WHERE name = $2 AND id < $3 OR id > $4 \
         -- binds: [[1, 2], \"a\", 3, 3]"
    );
}

#[test]
fn alternatives_are_written_with_a_text_between_them() {
    let conditions = [
        Condition::Between { from: 1, until: 2, column: Sql("id") },
        Condition::Is { named: Named { name: "a" } },
        Condition::Exists,
    ];
    let list = List { conditions: joined(" AND ", conditions), order: Sql("id DESC") };
    assert_eq!(
        sql(&list),
        "SELECT id FROM x WHERE id >= $1 AND id < $2 AND name = $3 AND id IS NOT NULL ORDER BY id DESC \
         -- binds: [1, 2, \"a\"]"
    );
    let list = List { conditions: joined(" AND ", Some(Condition::Exists)), order: Sql("id") };
    assert_eq!(sql(&list), "SELECT id FROM x WHERE id IS NOT NULL ORDER BY id -- binds: []");
    let list = List { conditions: joined(" AND ", None), order: Sql("id") };
    assert_eq!(sql(&list), "SELECT id FROM x WHERE  ORDER BY id -- binds: []");
}

#[test]
fn a_statement_is_found_by_its_type_unless_a_fragment_varies() {
    const { assert!(Find::HAS_STATIC_QUERY_ID && Named::HAS_STATIC_QUERY_ID) };
    const { assert!(!List::HAS_STATIC_QUERY_ID && !Table::HAS_STATIC_QUERY_ID) };
    assert!(Find::query_id().is_some() && Find::query_id() != Named::query_id());
    assert_eq!(List::query_id(), None);
}

#[test]
fn a_statement_is_kept_unless_a_number_is_in_its_text() {
    let list = List { conditions: joined("", None), order: Sql("id") };
    assert!(list.is_safe_to_cache_prepared(&Pg).expect("SQL"));
    let table = Table { place: Number(7) };
    assert!(!table.is_safe_to_cache_prepared(&Pg).expect("SQL"));
    assert_eq!(sql(&table), "SELECT 1 FROM t_7 -- binds: []");
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
