//! How Postgres must plan the next statements of a transaction, where its own choice would be bad.

use super::TenantTx;
use crate::error::Result;

impl TenantTx {
    /// From here on every statement is planned for its actual values. For lists with filters: a plan for any value
    /// considers neither rare words nor common ones, and is cached.
    ///
    /// # Errors
    ///
    /// Any error that a statement may have.
    pub async fn plan_for_values(&self) -> Result<()> {
        Ok(self.connection.run("SET LOCAL plan_cache_mode = force_custom_plan").await?)
    }

    /// From here on rows are found through a bitmap of an index, and plans are for the actual values. Only a bitmap
    /// can use a GIN index, which the planner may underestimate. Index entries count as expensive, so that the
    /// planner does not also read all keys of a tenant to check fewer rows.
    ///
    /// # Errors
    ///
    /// Any error that a statement may have.
    pub async fn plan_by_bitmap(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                           SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; \
                           SET LOCAL enable_bitmapscan = on; SET LOCAL cpu_index_tuple_cost = 1";
        Ok(self.connection.run(SQL).await?)
    }

    /// From here on rows are read in the order of an index, and plans are for the actual values.
    ///
    /// # Errors
    ///
    /// Any error that a statement may have.
    pub async fn plan_by_order(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                           SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = off; \
                           SET LOCAL cpu_index_tuple_cost = DEFAULT";
        Ok(self.connection.run(SQL).await?)
    }

    /// From here on rows are found by index and added up in the cheapest way, and plans are for the actual values.
    /// For numbers that are made of many rows, but always of a small part of a table.
    ///
    /// # Errors
    ///
    /// Any error that a statement may have.
    pub async fn plan_for_sums(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                           SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; \
                           SET LOCAL work_mem = '32MB'";
        Ok(self.connection.run(SQL).await?)
    }

    /// From here on rows are looked up by key, one after the other, however many the planner expects. A statement is
    /// planned for all values, and anew every second. For batches, which cost more to plan than to run.
    ///
    /// # Errors
    ///
    /// Any error that a statement may have.
    pub async fn plan_by_key(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
                           SET LOCAL enable_mergejoin = off";
        let replan = if self.connection.outgrows_plans() { "; DISCARD PLANS" } else { "" };
        Ok(self.connection.run(&format!("{}; {SQL}{replan}", self.connection.generic_plans())).await?)
    }

    /// From here on the planner chooses freely again.
    ///
    /// # Errors
    ///
    /// Any error that a statement may have.
    pub async fn plan_as_usual(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = DEFAULT; SET LOCAL enable_seqscan = DEFAULT; \
                           SET LOCAL enable_indexscan = DEFAULT; SET LOCAL enable_indexonlyscan = DEFAULT; \
                           SET LOCAL enable_bitmapscan = DEFAULT; SET LOCAL cpu_index_tuple_cost = DEFAULT";
        Ok(self.connection.run(SQL).await?)
    }
}
