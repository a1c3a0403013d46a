//! A search with thousands of FAQs of one customer, which share most of their words.

use crm_backend::pb;

use super::context::learn_faqs;
use crate::measure::{median, one_by_one};
use crate::report::{Figure, Measured};
use crate::stage::Stage;
use crate::{Result, client, fill};

/// The queries: words that every FAQ has, the words of one FAQ among others, and the exact question of one.
const QUERIES: [&str; 3] = [
    "What about the day?",
    "Hello! Could you tell me what you have about birthday cakes on day 4, please?",
    "What about delivery on day 1234?",
];

/// `faq_search`: the slowest of these queries.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let channel = client::channel(stage.address).await?;
    let tenant = stage.tenant().await?;
    learn_faqs(&channel, (tenant.id, tenant.customer), stage.options.faqs()).await?;
    fill::tidy(&stage.sql).await?;
    stage.settle().await?;
    let mut slowest: Option<Figure> = None;
    for query in QUERIES {
        let mut client = client::faqs(&channel, tenant.id)?;
        let request = pb::SearchCustomerFaqsRequest {
            customer_id: tenant.customer.to_string(),
            query: query.to_owned(),
            ..Default::default()
        };
        let took = one_by_one(stage.options.calm_round(), async || {
            let found = client.search_customer_faqs(request.clone()).await?.into_inner().matches;
            (!found.is_empty()).then_some(()).ok_or_else(|| "nothing is found".into())
        });
        let took = Figure::of_parts(&took.await?, stage.options.rounds, median)?;
        eprintln!("{query:?}: p50 {:.2} ms", took.value);
        slowest = Some(slowest.filter(|slowest| slowest.value > took.value).unwrap_or(took));
    }
    let measured = slowest.map(|figure| Measured::new("faq_search", figure));
    Ok(measured.into_iter().collect())
}
