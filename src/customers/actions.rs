//! The actions on customers, each within one transaction.

use std::collections::{BTreeSet, HashMap};

use futures_util::try_join;
use uuid::Uuid;

use super::common::CommonWords;
use super::consents::store::Consent;
use super::counts::Step;
use super::model::{Customer, ExternalId};
use super::store::{self, Cursor, Filter, OrderKey, View};
use super::{consents, counts, rules, wire, words};
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::keyset::Direction;
use crate::error::{Error, Result};
use crate::live::finder::Find;
use crate::pb::{self, ErrorReason};
use crate::rpc::etag::{self, Etag};
use crate::rpc::{Page, size};
use crate::times;

/// The number of numbered slugs that are looked up together. It is enough for a very common name to need only a
/// few lookups, and few enough for a rare one to cost nothing.
const SLUGS_AT_A_TIME: u32 = 32;

/// The number of attempts to insert a made slug that another call may take after the lookup.
const SLUG_ATTEMPTS: u32 = 32;

/// The number of customers that makes words common. If this many of a million have them, a walk of the list
/// finds a page of 50 after about 10,000 rows in order. A sort takes 5,000 rows out of order. With fewer
/// customers the walk gets longer, with more the sort does.
const COMMON: i64 = 5_000;

/// Whether a deleted customer counts as existing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deleted {
    Hidden,
    Shown,
}

/// Creates a customer. Without a slug, it gets the first free one that its name suggests.
pub(crate) async fn create(tx: &TenantTx, mut customer: Customer) -> Result<Customer> {
    rules::check_external_ids(&customer.external_ids.0)?;
    let lexemes = words::lexemes(tx.tenant(), &customer);
    let steps = counts::steps(None, Some(&customer));
    size::check("customer", None, &pb::Customer::from(customer.clone()))?;
    if customer.slug.is_empty() {
        insert(tx, &mut customer, &lexemes, &steps).await?;
    } else if !store::insert(tx, &customer, &lexemes, &steps).await? {
        return Err(slug_taken(&customer.slug));
    }
    hold_external_ids(tx, &customer).await?;
    Ok(customer)
}

/// Inserts a customer with a free slug.
async fn insert(tx: &TenantTx, customer: &mut Customer, lexemes: &[String], steps: &[Step]) -> Result<()> {
    let base = match customer.business_name.as_str() {
        "" => rules::visitor_slug(customer.id),
        name => rules::slug(name),
    };
    customer.slug = rules::numbered(&base, 1);
    for _ in 0..SLUG_ATTEMPTS {
        if store::insert(tx, customer, lexemes, steps).await? {
            return Ok(());
        }
        customer.slug = free_slug(tx, &base).await?;
    }
    Err(Error::Aborted {
        reason: ErrorReason::Conflict,
        message: "too many customers of this name at once; retry",
    })
}

/// Claims a customer's ids of other systems. They come last in a transaction, in their order, so that two
/// transactions never wait for each other.
async fn hold_external_ids(tx: &TenantTx, customer: &Customer) -> Result<()> {
    let mut ids = customer.external_ids.0.clone();
    ids.sort_unstable();
    if ids.is_empty() || store::external_ids::insert(tx, customer.id, &ids).await? == ids.len() {
        return Ok(());
    }
    for id in &ids {
        let holder = store::external_ids::find_holder(tx, id).await?;
        if let Some(holder) = holder.filter(|holder| *holder != customer.id) {
            return Err(external_id_taken(id, holder));
        }
    }
    // The other customer has given it up in between.
    Err(Error::conflict())
}

/// Returns the first free slug of `base-2`, `base-3` and so on. If many are taken, it looks ever further ahead.
/// So the search stays short, and numbers may be left out.
async fn free_slug(tx: &TenantTx, base: &str) -> Result<String> {
    let mut first = 2;
    loop {
        let candidates: Vec<_> =
            (first..first + SLUGS_AT_A_TIME).map(|number| rules::numbered(base, number)).collect();
        let taken = store::list_taken_slugs(tx, &candidates).await?;
        if let Some(free) = candidates.into_iter().find(|candidate| !taken.contains(candidate)) {
            return Ok(free);
        }
        first = first.saturating_mul(2).max(first + SLUGS_AT_A_TIME);
    }
}

/// Looks customers up by their ids, many together.
pub(crate) struct ById;

impl Find for ById {
    /// A customer and its consents.
    type Row = (Customer, Vec<Consent>);
    const NAME: &'static str = "customers";

    async fn find(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<(Uuid, Self::Row)>> {
        let (customers, consents) =
            try_join!(store::find_each(tx, ids), consents::store::find_each(tx, ids))?;
        let mut by_customer: HashMap<Uuid, Vec<Consent>> = HashMap::new();
        for consent in consents {
            by_customer.entry(consent.customer_id).or_default().push(consent);
        }
        let known = customers.into_iter().map(|customer| {
            let consents = by_customer.remove(&customer.id).unwrap_or_default();
            (customer.id, (customer, consents))
        });
        Ok(known.collect())
    }
}

/// Returns the customer that was found by this id.
pub(crate) fn get(found: Option<Customer>, id: Uuid, deleted: Deleted) -> Result<Customer> {
    visible(found, deleted, id)
}

/// Returns the customer with this id for a call that refers to it. Fails if it is deleted.
pub(crate) async fn read(tx: &TenantTx, id: Uuid) -> Result<Customer> {
    get(store::find_each(tx, &[id]).await?.pop(), id, Deleted::Hidden)
}

/// Returns the customer with this slug, and its consents.
pub(crate) async fn get_by_slug(
    tx: &TenantTx,
    slug: &str,
    deleted: Deleted,
) -> Result<(Customer, Vec<Consent>)> {
    let found = store::find_by_slug(tx, slug).await?;
    let customer = visible(found, deleted, slug)?;
    let consents = consents::store::find_each(tx, &[customer.id]).await?;
    Ok((customer, consents))
}

/// Returns one page of customers, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    common: &CommonWords,
    view: View,
    order: (OrderKey, Direction),
    page: &Page<Cursor>,
) -> Result<Rows<Customer>> {
    choose_plan(tx, filter, common).await?;
    store::list(tx, filter, view, order, page).await
}

/// Returns the ids of the customers that match a filter, in no order, and no more than `limit`.
pub(crate) async fn list_ids(tx: &TenantTx, filter: &Filter, limit: i64) -> Result<Vec<Uuid>> {
    choose_plan(tx, filter, &CommonWords::default()).await?;
    let ids = store::list_ids(tx, filter, limit).await?;
    // It is not the last statement of its transaction.
    tx.plan_as_usual().await?;
    Ok(ids)
}

/// Selects the cheapest plan for the list. For rare words, the customers that have them are looked up and
/// sorted. For common words, a walk of the list in its order soon finds a page. The planner cannot tell one
/// from the other: it expects every prefix of a word in one of fifty rows.
async fn choose_plan(tx: &TenantTx, filter: &Filter, common: &CommonWords) -> Result<()> {
    if let Some(search) = &filter.search {
        if common.has(search) {
            return tx.plan_by_order().await;
        }
        tx.plan_by_bitmap().await?;
        if store::count_found(tx, &search.tsquery, COMMON).await? >= COMMON {
            tx.plan_by_order().await?;
        }
    } else if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    Ok(())
}

/// Applies `change` to a customer. If the result is the same, nothing is written, and the etag stays.
pub(crate) async fn update(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    change: impl Fn(&Customer) -> Result<Customer> + Send + Sync,
) -> Result<Customer> {
    let current = visible(store::lock(tx, id).await?, Deleted::Hidden, id)?;
    etag::check(expected, current.etag())?;
    let wanted = change(&current)?;
    if wanted == current {
        return Ok(current);
    }
    rules::check_external_ids(&wanted.external_ids.0)?;
    let message = |customer: &Customer| pb::Customer::from(customer.clone());
    size::check("customer", Some(&message(&current)), &message(&wanted))?;
    write(tx, &current, wanted).await
}

/// Hides a customer.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid, expected: Option<Etag>) -> Result<Customer> {
    let customer = visible(store::lock(tx, id).await?, Deleted::Hidden, id)?;
    etag::check(expected, customer.etag())?;
    write(tx, &customer, Customer { deleted_at: Some(times::now()), ..customer.clone() }).await
}

/// Restores a hidden customer.
pub(crate) async fn undelete(tx: &TenantTx, id: Uuid, expected: Option<Etag>) -> Result<Customer> {
    let customer = store::lock(tx, id).await?.ok_or_else(|| not_found(id))?;
    if customer.deleted_at.is_none() {
        return Err(not_deleted(id));
    }
    etag::check(expected, customer.etag())?;
    write(tx, &customer, Customer { deleted_at: None, ..customer.clone() }).await
}

/// Keeps a customer that a call refers to from being deleted until the transaction ends.
///
/// # Errors
///
/// `CUSTOMER_NOT_FOUND`, also for a deleted one.
pub(crate) async fn require(tx: &TenantTx, id: Uuid) -> Result<()> {
    if store::hold(tx, id).await? {
        return Ok(());
    }
    // The error distinguishes a deleted customer from one that never existed.
    match store::find_preferences(tx, id).await? {
        Some(_) => Err(is_deleted(id)),
        None => Err(not_found(id)),
    }
}

/// Returns the BCP 47 tag of a customer's language; empty if it has none.
///
/// # Errors
///
/// `CUSTOMER_NOT_FOUND`.
pub(crate) async fn language(tx: &TenantTx, id: Uuid, deleted: Deleted) -> Result<String> {
    let found = store::find_preferences(tx, id).await?;
    match found {
        Some((_, Some(_))) if deleted == Deleted::Hidden => Err(is_deleted(id)),
        Some((preferences, _)) => Ok(rules::language(&preferences).to_owned()),
        None => Err(not_found(id)),
    }
}

/// Writes again the columns by which the next customers after this id are found and ordered. Returns the id of
/// the last of them.
pub(crate) async fn reindex(tx: &TenantTx, after: Uuid, limit: i64) -> Result<Option<Uuid>> {
    let customers = store::lock_after(tx, after, limit).await?;
    for customer in &customers {
        let derived = wire::derived(customer.clone());
        store::update_derived(tx, &derived, &words::lexemes(tx.tenant(), &derived)).await?;
    }
    Ok(customers.last().map(|customer| customer.id))
}

/// Updates a customer and the counts, in one flight. A new slug may have to wait for another transaction that
/// takes it, and that one for the counts of this one. So with a new slug the customer is written before
/// anything is counted, as for a new customer. The ids of other systems come after both.
async fn write(tx: &TenantTx, before: &Customer, customer: Customer) -> Result<Customer> {
    let customer = Customer { updated_at: times::now(), revision: customer.revision + 1, ..customer };
    let lexemes = words::lexemes(tx.tenant(), &customer);
    let steps = counts::steps(Some(before), Some(&customer));
    let update = store::update(tx, &customer, &lexemes, || slug_taken(&customer.slug));
    let count = store::counts::update(tx, &customer, &steps);
    if customer.slug == before.slug {
        try_join!(update, count)?;
    } else {
        update.await?;
        count.await?;
    }
    if held(before) != held(&customer) {
        store::external_ids::delete(tx, customer.id).await?;
        if customer.deleted_at.is_none() {
            hold_external_ids(tx, &customer).await?;
        }
    }
    Ok(customer)
}

/// Returns the ids of other systems that a customer claims, so that no other customer can have them.
fn held(customer: &Customer) -> BTreeSet<&ExternalId> {
    let ids = customer.deleted_at.is_none().then_some(&customer.external_ids.0);
    ids.into_iter().flatten().collect()
}

/// Returns the customer that was found by this name, unless it is deleted and counts as missing.
fn visible(found: Option<Customer>, deleted: Deleted, name: impl ToString) -> Result<Customer> {
    match found {
        Some(customer) if deleted == Deleted::Shown || customer.deleted_at.is_none() => Ok(customer),
        Some(customer) => Err(is_deleted(customer.id)),
        None => Err(not_found(name)),
    }
}

/// Returns the error for a deleted customer.
pub(crate) fn is_deleted(id: Uuid) -> Error {
    Error::Elsewhere {
        reason: ErrorReason::CustomerNotFound,
        message: format!(
            "the customer {id} is deleted; bring it back with UndeleteCustomer, or read it with show_deleted"
        ),
        kind: "customer",
        name: id.to_string(),
    }
}

/// Returns the error for restoring a customer that is not deleted.
pub(crate) fn not_deleted(id: Uuid) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::CustomerNotDeleted,
        message: format!("the customer {id} is not deleted; there is nothing to do"),
        kind: "customer",
        name: id.to_string(),
    }
}

/// Returns the error for a customer that this tenant does not have.
pub(crate) fn not_found(name: impl ToString) -> Error {
    Error::NotFound { reason: ErrorReason::CustomerNotFound, kind: "customer", name: name.to_string() }
}

/// Returns the error for an id of another system that another customer has.
pub(crate) fn external_id_taken(id: &ExternalId, holder: Uuid) -> Error {
    let ExternalId { source, id } = id;
    Error::AlreadyExists {
        reason: ErrorReason::ExternalIdTaken,
        message: format!("the customer {holder} has the external id {id:?} of {source:?}; update that one"),
        kind: "customer",
        name: holder.to_string(),
    }
}

pub(crate) fn slug_taken(slug: &str) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::SlugTaken,
        message: format!(
            "the slug {slug:?} is taken, perhaps by a deleted customer; choose another, or leave it empty"
        ),
        kind: "customer",
        name: slug.to_owned(),
    }
}
