//! What one transaction does to customers.

use std::collections::{BTreeSet, HashMap};

use futures_util::try_join;
use uuid::Uuid;

use super::consents::store::Consent;
use super::counts::Step;
use super::store::{self, Cursor, Customer, ExternalId, Filter, OrderKey, View};
use super::{consents, counts, rules, wire, words};
use crate::db::TenantTx;
use crate::db::keyset::Direction;
use crate::error::{Error, Result};
use crate::live::finder::Find;
use crate::pb::{self, ErrorReason};
use crate::rpc::etag::{self, Etag};
use crate::rpc::{Page, size, times};

/// Numbered slugs that are looked at together: enough that a name which nearly everybody has takes
/// a handful of looks, few enough that a rare one costs nothing.
const SLUGS_AT_A_TIME: u32 = 32;

/// How often a made slug may be taken between the look and the insert before the call gives up.
const SLUG_ATTEMPTS: u32 = 32;

/// Customers that make words common. Where so many of a million have them, a walk of the list meets a
/// page of 50 after about 10,000 rows in order, and sorting takes 5,000 rows out of order: with fewer
/// the walk gets longer, with more the sort does.
const COMMON: i64 = 5_000;

/// Whether a deleted customer counts as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deleted {
    Hidden,
    Shown,
}

/// Adds a customer. Without a slug, it gets the first free one that its name suggests.
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

/// Adds a customer with a slug that is free.
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

/// Has a customer hold its ids of other systems. They come last in a transaction, in their order, so that two
/// transactions never wait for each other's.
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
    // The other one has given it up in between.
    Err(Error::conflict())
}

/// The first free slug after `base`, `base-2` and so on. Where many are taken it looks ever further
/// ahead, so that the look stays short and numbers may be left out.
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

/// How customers are looked up together.
pub(crate) struct ById;

impl Find for ById {
    /// A customer, and what it said about being contacted.
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

/// The customer with this id, as it was found.
pub(crate) fn get(found: Option<Customer>, id: Uuid, deleted: Deleted) -> Result<Customer> {
    visible(found, deleted, id)
}

/// The customer with this id, which is not deleted, for a call that needs to know it.
pub(crate) async fn read(tx: &TenantTx, id: Uuid) -> Result<Customer> {
    get(store::find_each(tx, &[id]).await?.pop(), id, Deleted::Hidden)
}

/// The customer with this slug, and what it said about being contacted.
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

/// One page of customers, and where the next one begins.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    view: View,
    order: (OrderKey, Direction),
    page: &Page<Cursor>,
) -> Result<(Vec<Customer>, Option<Cursor>)> {
    choose_plan(tx, filter).await?;
    let (customers, more) = page.cut(store::list(tx, filter, view, order, page).await?);
    let next = customers.last().filter(|_| more).map(|last| Cursor::at(order.0, last));
    Ok((customers, next))
}

/// The ids of all customers that a filter lets through, in no order; no more than `limit`.
pub(crate) async fn list_ids(tx: &TenantTx, filter: &Filter, limit: i64) -> Result<Vec<Uuid>> {
    choose_plan(tx, filter).await?;
    let ids = store::list_ids(tx, filter, limit).await?;
    // It is not the last statement of its transaction.
    tx.plan_as_usual().await?;
    Ok(ids)
}

/// Has the list read what costs least. Words that few customers have are looked up, and who has them
/// is sorted; words that many have are met soon by whoever walks the list in its order. The planner
/// cannot tell one from the other: it takes every beginning of a word to be had by one in fifty.
async fn choose_plan(tx: &TenantTx, filter: &Filter) -> Result<()> {
    if let Some(words) = &filter.search {
        tx.plan_by_bitmap().await?;
        if store::count_found(tx, words, COMMON).await? >= COMMON {
            tx.plan_by_order().await?;
        }
    } else if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    Ok(())
}

/// Makes of a customer what `change` makes of it. A change of nothing changes nothing, the etag
/// included.
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

/// Brings a hidden customer back.
pub(crate) async fn undelete(tx: &TenantTx, id: Uuid, expected: Option<Etag>) -> Result<Customer> {
    let customer = store::lock(tx, id).await?.ok_or_else(|| not_found(id))?;
    if customer.deleted_at.is_none() {
        return Err(not_deleted(id));
    }
    etag::check(expected, customer.etag())?;
    write(tx, &customer, Customer { deleted_at: None, ..customer.clone() }).await
}

/// Holds a customer that a call refers to: it stays until the transaction ends.
///
/// # Errors
///
/// `CUSTOMER_NOT_FOUND`, also for a deleted one.
pub(crate) async fn require(tx: &TenantTx, id: Uuid) -> Result<()> {
    if store::hold(tx, id).await? {
        return Ok(());
    }
    // A deleted customer is told apart from one that was never there.
    match store::find_preferences(tx, id).await? {
        Some(_) => Err(is_deleted(id)),
        None => Err(not_found(id)),
    }
}

/// The BCP 47 tag of a customer's language; empty when it says none.
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

/// Makes anew what the next customers after this id are found and ordered by, and gives the last of them.
pub(crate) async fn reindex(tx: &TenantTx, after: Uuid, limit: i64) -> Result<Option<Uuid>> {
    let customers = store::lock_after(tx, after, limit).await?;
    for customer in &customers {
        let derived = wire::derived(customer.clone());
        store::update_derived(tx, &derived, &words::lexemes(tx.tenant(), &derived)).await?;
    }
    Ok(customers.last().map(|customer| customer.id))
}

/// Writes a customer anew and counts what changed, in one flight. Another slug may have to wait for who takes it at the
/// same time, and that one for our counts: then it is written before anything is counted, as a new customer is. Ids of
/// other systems come after both.
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

/// The ids of other systems that a customer holds, so that no other one can have them.
fn held(customer: &Customer) -> BTreeSet<&ExternalId> {
    let ids = customer.deleted_at.is_none().then_some(&customer.external_ids.0);
    ids.into_iter().flatten().collect()
}

/// The customer that was found under this name, unless it is deleted and counts as absent.
fn visible(found: Option<Customer>, deleted: Deleted, name: impl ToString) -> Result<Customer> {
    match found {
        Some(customer) if deleted == Deleted::Shown || customer.deleted_at.is_none() => Ok(customer),
        Some(customer) => Err(is_deleted(customer.id)),
        None => Err(not_found(name)),
    }
}

/// The customer is there, but deleted.
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

/// The customer that is to be brought back is not deleted.
pub(crate) fn not_deleted(id: Uuid) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::CustomerNotDeleted,
        message: format!("the customer {id} is not deleted; there is nothing to do"),
        kind: "customer",
        name: id.to_string(),
    }
}

/// There is no such customer in this tenant.
pub(crate) fn not_found(name: impl ToString) -> Error {
    Error::NotFound { reason: ErrorReason::CustomerNotFound, kind: "customer", name: name.to_string() }
}

/// Another customer has this id of another system.
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
