//! The scenarios. Those that need the same tables, or share a value, are measured together.

mod append;
mod beside;
mod campaign_events;
mod context;
mod context_neighbour;
mod create_message;
mod dashboard;
mod faq_search;
mod growth;
mod idle_watch;
mod keys;
mod misses;
mod neighbour;
mod reads;
mod shelf;
mod start;
mod tenants;
mod tokens;
mod watch;
mod watched;
mod web;

use std::time::Instant;

use crate::Result;
use crate::machine::{Machine, Moment};
use crate::report::{Earlier, Measured, Report};
use crate::stage::Stage;

pub(crate) use context::analyse;
pub(crate) use shelf::Shelf;

/// Scenarios that are measured together.
#[derive(Debug, Clone, Copy)]
enum Group {
    Append,
    AppendHot,
    AppendIdle,
    CreateMessage,
    GetCustomer,
    ListMessages,
    KeyGetCustomer,
    KeyListMessages,
    RestGetCustomer,
    RestCreateMessage,
    Metered,
    Traced,
    Misses,
    CampaignEvents,
    Context,
    FaqSearch,
    Tokens,
    Watch,
    IdleWatch,
    SseWatch,
    IdleSse,
    IdleTenants,
    GrowthOfConversation,
    GrowthOfTenant,
    Dashboard,
    ManyTenants,
    NoisyNeighbour,
    ContextNeighbour,
    Start,
}

impl Group {
    /// In this order: the large tables come last.
    const ALL: [Self; 29] = [
        Self::Append,
        Self::AppendHot,
        Self::AppendIdle,
        Self::CreateMessage,
        Self::GetCustomer,
        Self::ListMessages,
        Self::KeyGetCustomer,
        Self::KeyListMessages,
        Self::RestGetCustomer,
        Self::RestCreateMessage,
        Self::Metered,
        Self::Traced,
        Self::Misses,
        Self::CampaignEvents,
        Self::Context,
        Self::FaqSearch,
        Self::Tokens,
        Self::Watch,
        Self::IdleWatch,
        Self::SseWatch,
        Self::IdleSse,
        Self::IdleTenants,
        Self::ManyTenants,
        Self::NoisyNeighbour,
        Self::ContextNeighbour,
        Self::Start,
        Self::Dashboard,
        Self::GrowthOfConversation,
        Self::GrowthOfTenant,
    ];

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Append => &["append", "append_vs_unnest"],
            Self::AppendHot => &["append_hot"],
            Self::AppendIdle => &["append_idle_p50"],
            Self::CreateMessage => &["create_message_8", "create_message_32", "create_message_p50"],
            Self::GetCustomer => &["get_customer"],
            Self::ListMessages => &["list_messages"],
            Self::KeyGetCustomer => &["key_get_customer"],
            Self::KeyListMessages => &["key_list_messages"],
            Self::RestGetCustomer => &["rest_get_customer"],
            Self::RestCreateMessage => &["rest_create_message"],
            Self::Metered => &["metered_append", "metered_get_customer"],
            Self::Traced => &["traced_append", "traced_get_customer"],
            Self::Misses => &["miss_timing"],
            Self::CampaignEvents => &["campaign_events"],
            Self::Context => &["ai_context", "growth_ai_context"],
            Self::FaqSearch => &["faq_search"],
            Self::Tokens => &["token_delta_p99", "token_rows_per_delta"],
            Self::Watch => &["watch_p99"],
            Self::IdleWatch => &["idle_watch_memory"],
            Self::SseWatch => &["sse_watch_p99"],
            Self::IdleSse => &["idle_sse_memory"],
            Self::IdleTenants => &["idle_tenants", "idle_tenants_p95"],
            Self::GrowthOfConversation => &["growth_append", "growth_list_messages"],
            Self::GrowthOfTenant => &["growth_list_customers", "growth_search", "growth_search_common"],
            Self::Dashboard => &["dashboard_p95", "growth_dashboard", "dashboard_whole"],
            Self::ManyTenants => &["many_tenants"],
            Self::NoisyNeighbour => &["noisy_neighbour"],
            Self::ContextNeighbour => &["context_neighbour"],
            Self::Start => &["start", "start_memory", "binary_size"],
        }
    }

    async fn measure(self, stage: &Stage<'_>) -> Result<Vec<Measured>> {
        match self {
            Self::Append => append::spread(stage).await,
            Self::AppendHot => append::hot(stage).await,
            Self::AppendIdle => append::idle(stage).await,
            Self::CreateMessage => create_message::measure(stage).await,
            Self::GetCustomer => reads::get_customer(stage).await,
            Self::ListMessages => reads::list_messages(stage).await,
            Self::KeyGetCustomer => keys::get_customer(stage).await,
            Self::KeyListMessages => keys::list_messages(stage).await,
            Self::RestGetCustomer => web::get_customer(stage).await,
            Self::RestCreateMessage => web::create_message(stage).await,
            Self::Metered => watched::metered(stage).await,
            Self::Traced => watched::traced(stage).await,
            Self::Misses => misses::measure(stage).await,
            Self::CampaignEvents => campaign_events::measure(stage).await,
            Self::Context => context::measure(stage).await,
            Self::FaqSearch => faq_search::measure(stage).await,
            Self::Tokens => tokens::measure(stage).await,
            Self::Watch => watch::measure(stage).await,
            Self::IdleWatch => idle_watch::measure(stage).await,
            Self::SseWatch => web::watch(stage).await,
            Self::IdleSse => web::idle(stage).await,
            Self::IdleTenants => tenants::idle(stage).await,
            Self::GrowthOfConversation => growth::conversation(stage).await,
            Self::GrowthOfTenant => growth::tenant(stage).await,
            Self::Dashboard => dashboard::measure(stage).await,
            Self::ManyTenants => tenants::many(stage).await,
            Self::NoisyNeighbour => neighbour::measure(stage).await,
            Self::ContextNeighbour => context_neighbour::measure(stage).await,
            Self::Start => start::measure(stage).await,
        }
    }
}

/// Measures all requested scenarios. After a failure the others are still measured.
pub(crate) async fn run_all(
    stage: &Stage<'_>,
    mut machine: Machine,
    earlier: Option<Earlier>,
) -> Result<Report> {
    let mut report = Report::new(earlier, stage.options.caveat());
    let wanted = |name: &&str| stage.options.wants(name);
    let names = |group: Group| -> Vec<_> { group.names().iter().copied().filter(wanted).collect() };
    let groups = Group::ALL.into_iter().map(|group| (group, names(group)));
    let groups: Vec<_> = groups.filter(|(_, names)| !names.is_empty()).collect();
    for (number, (group, names)) in groups.iter().enumerate() {
        if number == groups.len() / 2 {
            machine.pace()?;
        }
        let (began, moment) = (Instant::now(), Moment::now());
        let outcome = group.measure(stage).await;
        report.took(names, began.elapsed().as_secs_f64(), moment.and_then(Moment::others));
        report.add(names, outcome);
    }
    report.end(stage.costs.list(), machine.end()?);
    Ok(report)
}
