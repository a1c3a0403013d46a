//! How Postgres is to plan what comes next in a transaction, where it would be wrong about it by itself.

use super::TenantTx;
use crate::error::Result;

impl TenantTx {
    /// From here on every statement is planned for the values that it comes with. For lists with
    /// filters: a plan for any value knows neither rare words nor common ones, and is cached.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_for_values(&self) -> Result<()> {
        Ok(self.connection.run("SET LOCAL plan_cache_mode = force_custom_plan").await?)
    }

    /// From here on, and for the values at hand, rows are found through a bitmap of an index: what a
    /// GIN index gives, whatever the planner thinks of it. Entries of indexes count as dear, so that it does
    /// not read all keys of a tenant as well to have fewer rows to look at.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_by_bitmap(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                           SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; \
                           SET LOCAL enable_bitmapscan = on; SET LOCAL cpu_index_tuple_cost = 1";
        Ok(self.connection.run(SQL).await?)
    }

    /// From here on, and for the values at hand, rows are read in the order of an index.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_by_order(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                           SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = off; \
                           SET LOCAL cpu_index_tuple_cost = DEFAULT";
        Ok(self.connection.run(SQL).await?)
    }

    /// From here on, and for the values at hand, rows are found by index and added up in whatever way costs
    /// least. For numbers that are made of many rows: they are never so many that all others should be read
    /// too, and it takes longer to compile such a statement than to run it.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_for_sums(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                           SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; \
                           SET LOCAL jit = off; SET LOCAL work_mem = '32MB'";
        Ok(self.connection.run(SQL).await?)
    }

    /// From here on rows are looked up by their keys, one after the other, however many the planner takes
    /// them to be, and a statement is planned for all values, anew every second. For batches, which cost
    /// more to plan than to run.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_by_key(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
                           SET LOCAL enable_mergejoin = off";
        let replan = if self.connection.outgrows_plans() { "; DISCARD PLANS" } else { "" };
        Ok(self.connection.run(&format!("{}; {SQL}{replan}", self.connection.generic_plans())).await?)
    }

    /// From here on the planner is free again.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_as_usual(&self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = DEFAULT; SET LOCAL enable_seqscan = DEFAULT; \
                           SET LOCAL enable_indexscan = DEFAULT; SET LOCAL enable_indexonlyscan = DEFAULT; \
                           SET LOCAL enable_bitmapscan = DEFAULT; SET LOCAL cpu_index_tuple_cost = DEFAULT";
        Ok(self.connection.run(SQL).await?)
    }
}
