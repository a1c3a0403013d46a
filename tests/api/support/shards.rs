//! The rules for statements that let Citus run them, and run them in one shard.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use regex::Regex;
use sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, Expr, FromTable, Insert, JoinConstraint, JoinOperator,
    ObjectName, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TableObject, TableWithJoins,
    UpdateTableFromKind, Value, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// The column by which tables are distributed.
const TENANT: &str = "tenant_id";

/// Functions that Citus does not pass to its workers, or that belong to a single node.
const REFUSED: [&str; 4] = ["set_config", "nextval", "currval", "current_tenant"];

/// Returns what is wrong with a statement about these tables.
pub(crate) fn violations(statement: &str, tables: &BTreeSet<String>) -> Vec<String> {
    // The parser does not know all forms of row locks, nor that OFFSET may come after them.
    static LOCKS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"FOR (NO KEY UPDATE|UPDATE|KEY SHARE|SHARE)\b( OF \w+)?( SKIP LOCKED| NOWAIT)?")
            .expect("an expression")
    });
    let parsed = match Parser::parse_sql(&PostgreSqlDialect {}, &LOCKS.replace_all(statement, "")) {
        Ok(parsed) => parsed,
        Err(error) => return vec![format!("it cannot be parsed ({error})")],
    };
    let mut judge = Judge { tables, found: Vec::new() };
    let _ = parsed.visit(&mut judge);
    judge.found
}

struct Judge<'t> {
    tables: &'t BTreeSet<String>,
    found: Vec<String>,
}

impl Visitor for Judge<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.relations(&select.from, &[], select.selection.as_ref());
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => {
                let from = match &update.from {
                    Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => {
                        from.as_slice()
                    }
                    None => &[],
                };
                self.relations(std::slice::from_ref(&update.table), from, update.selection.as_ref());
                if update.assignments.iter().any(sets_tenant) {
                    self.found.push("the tenant of a row is changed".to_owned());
                }
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
                self.relations(from, delete.using.as_deref().unwrap_or_default(), delete.selection.as_ref());
            }
            Statement::Merge { .. } => self.found.push("MERGE".to_owned()),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Case { .. } if self.reads(expr) => {
                self.found.push("a table is read within CASE, where Citus allows no policy".to_owned());
            }
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                if name == "coalesce" && self.reads(expr) {
                    self.found
                        .push("a table is read within COALESCE, where Citus allows no policy".to_owned());
                }
                if REFUSED.contains(&name.as_str()) {
                    self.found.push(format!("{name}() is of one node alone"));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Judge<'_> {
    /// Checks that each table of a FROM has a condition that names its tenant as a value.
    fn relations(&mut self, of: &[TableWithJoins], more: &[TableWithJoins], selection: Option<&Expr>) {
        let (mut names, mut conditions) = (Vec::new(), Vec::new());
        for table in of.iter().chain(more) {
            self.table(table, &mut names, &mut conditions);
        }
        conditions.extend(selection);
        let stated: Vec<_> = conditions.into_iter().flat_map(tenants).collect();
        for name in &names {
            let is_stated = stated.iter().any(|qualifier| match qualifier {
                Some(qualifier) => qualifier == name,
                None => names.len() == 1,
            });
            if !is_stated {
                self.found.push(format!("the tenant of {name} is no parameter"));
            }
        }
    }

    /// Collects the names of tables with a tenant, and the conditions of joins.
    fn table<'e>(&self, table: &'e TableWithJoins, names: &mut Vec<String>, conditions: &mut Vec<&'e Expr>) {
        self.factor(&table.relation, names, conditions);
        for join in &table.joins {
            self.factor(&join.relation, names, conditions);
            if let JoinOperator::Join(on)
            | JoinOperator::Inner(on)
            | JoinOperator::Left(on)
            | JoinOperator::LeftOuter(on) = &join.join_operator
                && let JoinConstraint::On(on) = on
            {
                conditions.push(on);
            }
        }
    }

    fn factor<'e>(&self, factor: &'e TableFactor, names: &mut Vec<String>, conditions: &mut Vec<&'e Expr>) {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } if self.tables.contains(&last(name)) => {
                names.push(alias.as_ref().map_or_else(|| last(name), |alias| alias.name.value.clone()));
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.table(table_with_joins, names, conditions)
            }
            _ => {}
        }
    }

    /// Checks that an insert has the tenant as a value, and does not become a COPY.
    fn insert(&mut self, insert: &Insert) {
        let TableObject::TableName(name) = &insert.table else { return };
        let name = last(name);
        if !self.tables.contains(&name) {
            return;
        }
        let Some(place) = insert.columns.iter().position(|column| last(column) == TENANT) else {
            self.found.push(format!("a row of {name} is inserted without its tenant"));
            return;
        };
        let Some(source) = &insert.source else { return };
        let rows: Vec<Option<&Expr>> = match source.body.as_ref() {
            SetExpr::Values(values) => values.rows.iter().map(|row| row.content.get(place)).collect(),
            body => {
                if insert.on.is_none() && insert.returning.is_none() {
                    self.found.push(format!("INSERT INTO {name} SELECT returns nothing, and becomes COPY"));
                }
                selects(body).into_iter().map(|select| item(select, place)).collect()
            }
        };
        if rows.iter().any(|tenant| !tenant.is_some_and(is_value)) {
            self.found.push(format!("the tenant of what is inserted into {name} is no parameter"));
        }
    }

    /// Whether an expression reads a table with a tenant.
    fn reads(&self, expr: &Expr) -> bool {
        struct Reads<'t>(&'t BTreeSet<String>);
        impl Visitor for Reads<'_> {
            type Break = ();
            fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
                if self.0.contains(&last(relation)) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
        }
        expr.visit(&mut Reads(self.tables)).is_break()
    }
}

/// Returns the SELECTs of a union.
fn selects(body: &SetExpr) -> Vec<&Select> {
    match body {
        SetExpr::Select(select) => vec![select.as_ref()],
        SetExpr::Query(query) => selects(Query::body(query)),
        SetExpr::SetOperation { left, right, .. } => [selects(left), selects(right)].concat(),
        _ => Vec::new(),
    }
}

/// A query without its WITH and ORDER BY.
trait Body {
    fn body(&self) -> &SetExpr;
}

impl Body for Query {
    fn body(&self) -> &SetExpr {
        &self.body
    }
}

/// Returns the expression of a column in a SELECT, if each earlier item is a single column.
fn item(select: &Select, place: usize) -> Option<&Expr> {
    let single =
        |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    if !select.projection.iter().take(place).all(single) {
        return None;
    }
    match select.projection.get(place)? {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// Returns the tables, as written before the column, whose tenant a condition requires to be a value.
fn tenants(condition: &Expr) -> Vec<Option<String>> {
    match condition {
        Expr::Nested(within) => tenants(within),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => [tenants(left), tenants(right)].concat(),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let sides = [(left, right), (right, left)];
            let named = sides.into_iter().filter(|(_, value)| is_value(value));
            named.filter_map(|(column, _)| tenant_of(column)).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the table of a column `tenant_id`, if it is one.
fn tenant_of(column: &Expr) -> Option<Option<String>> {
    match column {
        Expr::Identifier(name) => (name.value == TENANT).then_some(None),
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [.., table, name] if name.value == TENANT => Some(Some(table.value.clone())),
            _ => None,
        },
        Expr::Nested(within) => tenant_of(within),
        _ => None,
    }
}

/// Whether an expression is a parameter or a literal.
fn is_value(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_) | Value::SingleQuotedString(_)),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_value(expr),
        _ => false,
    }
}

fn sets_tenant(assignment: &Assignment) -> bool {
    match &assignment.target {
        AssignmentTarget::ColumnName(name) => last(name) == TENANT,
        AssignmentTarget::Tuple(names) => names.iter().any(|name| last(name) == TENANT),
    }
}

/// Returns the last part of a name, without quotes.
fn last(name: &ObjectName) -> String {
    let part = name.0.last().and_then(|part| part.as_ident());
    part.map_or_else(String::new, |name| name.value.clone())
}
