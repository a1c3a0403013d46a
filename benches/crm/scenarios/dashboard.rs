//! A dashboard of one month, for a tenant with only that month, and for one with ten months.

use std::time::{Duration, Instant};

use crm_backend::pb;
use prost_types::Timestamp;
use tonic::transport::Channel;
use uuid::Uuid;

use super::campaign_events::campaign;
use crate::fill;
use crate::measure::{median, milliseconds, one_by_one, quantile};
use crate::report::{Figure, Measured};
use crate::stage::Stage;
use crate::{Result, client};

/// The months of the large tenant.
const MONTHS: u64 = 10;

/// The days of each month.
const DAYS: u64 = 30;

/// The messages of each customer in all months.
const MESSAGES_PER_CUSTOMER: u64 = 100;

/// The answers that share a round.
pub(super) const CALLS: [Answer; 4] =
    [Answer::Customers, Answer::Conversations, Answer::Campaigns, Answer::Funnel];

/// The number of timed calls over all months. They are too slow for a round.
const WHOLE_CALLS: usize = 5;

/// A kind of answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Customers,
    Conversations,
    Campaigns,
    Funnel,
}

/// A tenant, and the beginning and end of its last month.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filled {
    tenant: Uuid,
    from: Timestamp,
    until: Timestamp,
}

/// `dashboard_p95`, `growth_dashboard` and `dashboard_whole`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let channel = client::channel(stage.address).await?;
    let large = fill_months(stage, &channel, MONTHS).await?;
    let small = stage.shelf.month(stage).await?;
    fill::tidy(&stage.sql).await?;
    let mut slowest: Option<Figure> = None;
    let rounds = stage.options.rounds as usize;
    let (mut many, mut few) = (vec![0.0; rounds], vec![0.0; rounds]);
    for answer in CALLS {
        let mut tails = Vec::new();
        for (many, few) in many.iter_mut().zip(&mut few) {
            stage.settle().await?;
            let took = large.times(stage, &channel, answer).await?;
            tails.push(quantile(&took, 0.95)?);
            let (much, little) = (median(&took)?, median(&small.times(stage, &channel, answer).await?)?);
            eprintln!("{answer:?}: {much:.1} ms of ten months, {little:.1} ms of one");
            *many += much;
            *few += little;
        }
        let tail = Figure::of(&tails)?;
        eprintln!("{answer:?}: p95 {:.1} ms", tail.value);
        slowest = Some(slowest.filter(|slowest| slowest.value > tail.value).unwrap_or(tail));
    }
    let whole = large.whole(&channel).await?;
    Ok(vec![
        Measured::new("dashboard_p95", slowest.ok_or("no answer was measured")?),
        Measured::rounds("growth_dashboard", &many)?.beside_rounds(&few),
        Measured::new("dashboard_whole", whole),
    ])
}

impl Filled {
    /// Returns the milliseconds of an answer about the last month, in a share of a round.
    async fn times(&self, stage: &Stage<'_>, channel: &Channel, answer: Answer) -> Result<Vec<f64>> {
        let share = stage.options.round() / u32::try_from(CALLS.len())?;
        one_by_one(share, async || self.last_month(channel, answer).await).await
    }

    /// Returns the milliseconds of the slowest answer about all months.
    async fn whole(&self, channel: &Channel) -> Result<Figure> {
        let seconds = i64::try_from((MONTHS - 1) * DAYS * 86_400)?;
        let from = Timestamp { seconds: self.from.seconds - seconds, nanos: 0 };
        let mut slowest: Option<Figure> = None;
        for answer in CALLS {
            let mut took = Vec::new();
            for _ in 0..WHOLE_CALLS {
                let began = Instant::now();
                self.ask(channel, answer, from).await?;
                took.push(milliseconds(began.elapsed()));
            }
            let took = Figure::of(&took)?;
            eprintln!("{answer:?}: {:.1} ms for all of ten months", took.value);
            slowest = Some(slowest.filter(|slowest| slowest.value > took.value).unwrap_or(took));
        }
        slowest.ok_or_else(|| "no answer was measured".into())
    }

    /// Requests an answer about the last month.
    pub(super) async fn last_month(&self, channel: &Channel, answer: Answer) -> Result<()> {
        self.ask(channel, answer, self.from).await
    }

    async fn ask(&self, channel: &Channel, answer: Answer, from: Timestamp) -> Result<()> {
        let mut client = client::dashboard(channel, self.tenant)?;
        let (time_from, time_until) = (Some(from), Some(self.until));
        let found = match answer {
            Answer::Customers => {
                let request =
                    pb::GetCustomerStatisticsRequest { time_from, time_until, ..Default::default() };
                client.get_customer_statistics(request).await?.into_inner().active_count
            }
            Answer::Conversations => {
                let request =
                    pb::GetConversationStatisticsRequest { time_from, time_until, ..Default::default() };
                client.get_conversation_statistics(request).await?.into_inner().message_count
            }
            Answer::Campaigns => {
                let request =
                    pb::GetCampaignStatisticsRequest { time_from, time_until, ..Default::default() };
                let answered = client.get_campaign_statistics(request).await?.into_inner();
                i64::try_from(answered.campaigns.len())?
            }
            Answer::Funnel => {
                let request = pb::GetConversionFunnelRequest { time_from, time_until, ..Default::default() };
                let answered = client.get_conversion_funnel(request).await?.into_inner();
                let last = answered.funnels.first().and_then(|funnel| funnel.steps.last());
                last.map_or(0, |step| step.customer_count)
            }
        };
        (found > 0).then_some(()).ok_or_else(|| format!("{answer:?} found nothing").into())
    }
}

/// Creates a tenant with customers that came in [`MONTHS`]. It has messages in the last `months` of them, ten to a
/// conversation, and as many events as conversations.
///
/// Every such tenant has as many customers, and as many rows in the last month: only the months before it differ.
pub(super) async fn fill_months(stage: &Stage<'_>, channel: &Channel, months: u64) -> Result<Filled> {
    let began = Instant::now();
    let tenant = stage.tenant().await?;
    let rows = stage.options.grown_rows();
    let (customers, messages) = (rows / MESSAGES_PER_CUSTOMER, rows / MONTHS * months);
    let conversations = messages / 10;
    // Before there are too many customers to assign in one call: only events are counted.
    let campaign = campaign(channel, tenant.id).await?;
    let customers = fill::customers(&stage.sql, tenant.id, tenant.customer, customers).await?;
    let until = crm_backend::times::now();
    let [span, arrivals] = [months, MONTHS].map(|months| Duration::from_secs(months * DAYS * 86_400));
    let month =
        fill::Month { tenant: tenant.id, first: tenant.customer, customers, campaign, until, span, arrivals };
    month.fill(&stage.sql, channel, conversations).await?;
    eprintln!("{messages} messages in {months} months, filled in {:.1} s", began.elapsed().as_secs_f64());
    let seconds = until.timestamp();
    Ok(Filled {
        tenant: tenant.id,
        from: Timestamp { seconds: seconds - i64::try_from(DAYS * 86_400)?, nanos: 0 },
        until: Timestamp { seconds, nanos: 0 },
    })
}
