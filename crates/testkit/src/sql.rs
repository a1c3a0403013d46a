//! SQL of a test's own, beside that of the service.

use tokio::task::JoinSet;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A connection for a test's own SQL.
pub struct Sql {
    client: tokio_postgres::Client,
    /// Moves the bytes until it is dropped.
    _driver: JoinSet<()>,
}

/// A row as text; `None` is null.
pub type Row = Vec<Option<String>>;

impl Sql {
    /// Connects without TLS, as to a Postgres of the tests.
    pub async fn connect(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres answers");
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Self { client, _driver: driver }
    }

    /// Runs statements, and returns the rows or the error.
    pub async fn try_rows(&self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Returns the rows of these statements.
    pub async fn rows(&self, sql: &str) -> Vec<Row> {
        self.try_rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        self.rows(sql).await;
    }

    /// Returns the first column without nulls.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        self.rows(sql).await.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    }

    /// Returns the single number of the result.
    pub async fn number(&self, sql: &str) -> i64 {
        let texts = self.texts(sql).await;
        texts.first().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{sql} gave {texts:?}"))
    }
}
