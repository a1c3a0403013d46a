//! GetAiContext, compared with a page of messages of the same customer.

use std::time::Instant;

use crm_backend::pb;
use futures_util::{TryStreamExt, stream};
use tonic::transport::Channel;
use uuid::Uuid;

use super::reads::last_messages;
use crate::fill::{self, Ids};
use crate::measure::{median, one_by_one};
use crate::report::Measured;
use crate::stage::Stage;
use crate::{Result, client};

/// How much is known about a customer.
#[derive(Debug, Clone, Copy)]
struct Known {
    conversations: u64,
    faqs: usize,
    questions: usize,
}

/// A customer with many conversations, FAQs and questions.
const MUCH: Known = Known { conversations: 200, faqs: 200, questions: 50 };

/// A customer with ten times as many.
const MORE: Known = Known { conversations: 2_000, faqs: 2_000, questions: 500 };

/// The messages of each conversation.
const MESSAGES: u64 = 50;

/// The number of calls at the same time that fill the tables.
const CALLS: usize = 16;

/// The budget of a context.
const TOKENS: i32 = 4_000;

/// `ai_context` and `growth_ai_context`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let channel = client::channel(stage.address).await?;
    let much = Customer::new(stage, &channel, MUCH).await?;
    let more = match stage.options.wants("growth_ai_context") {
        true => Some(Customer::new(stage, &channel, MORE).await?),
        false => None,
    };
    fill::tidy(&stage.sql).await?;
    let (mut contexts, mut pages, mut large) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..stage.options.rounds {
        stage.settle().await?;
        contexts.push(much.context(stage, &channel).await?);
        pages.push(much.list_messages(stage, &channel).await?);
        if let Some(more) = &more {
            large.push(more.context(stage, &channel).await?);
        }
    }
    let mut measured = vec![Measured::rounds("ai_context", &contexts)?.beside_rounds(&pages)];
    if !large.is_empty() {
        measured.push(Measured::rounds("growth_ai_context", &large)?.beside_rounds(&contexts));
    }
    Ok(measured)
}

/// A customer in a tenant of its own.
struct Customer {
    tenant: Uuid,
    id: Uuid,
    conversations: Ids,
}

impl Customer {
    async fn new(stage: &Stage<'_>, channel: &Channel, known: Known) -> Result<Self> {
        let began = Instant::now();
        let tenant = Uuid::new_v4();
        let id = fill::customer(channel, tenant).await?;
        let first = fill::conversation(channel, tenant, id).await?;
        analyse(channel, tenant, first).await?;
        let conversations = fill::conversations(&stage.sql, tenant, first, known.conversations).await?;
        fill::messages(&stage.sql, channel, (tenant, id), conversations, MESSAGES).await?;
        learn(channel, (tenant, id), known).await?;
        eprintln!("{known:?}, filled in {:.1} s", began.elapsed().as_secs_f64());
        Ok(Self { tenant, id, conversations })
    }

    /// Returns the milliseconds of a context.
    async fn context(&self, stage: &Stage<'_>, channel: &Channel) -> Result<f64> {
        let mut client = client::customers(channel, self.tenant)?;
        let request = pb::GetAiContextRequest {
            customer_id: self.id.to_string(),
            conversation_id: self.conversations.text(1),
            max_tokens: TOKENS,
            format: pb::ContextFormat::Markdown.into(),
            ..Default::default()
        };
        let took = one_by_one(stage.options.calm_round(), async || {
            let context = client.get_ai_context(request.clone()).await?.into_inner();
            (context.token_count > TOKENS / 2).then_some(()).ok_or_else(|| "a context without much".into())
        });
        median(&took.await?)
    }

    /// Returns the milliseconds of the last page of messages.
    async fn list_messages(&self, stage: &Stage<'_>, channel: &Channel) -> Result<f64> {
        let mut client = client::conversations(channel, self.tenant)?;
        let request = last_messages(self.conversations.text(1));
        let took = one_by_one(stage.options.calm_round(), async || {
            let page = client.list_messages(request.clone()).await?.into_inner();
            (page.messages.len() as u64 == MESSAGES).then_some(()).ok_or_else(|| "not a whole page".into())
        });
        median(&took.await?)
    }
}

/// Adds an analysis to a conversation, which its copies get too.
pub(crate) async fn analyse(channel: &Channel, tenant: Uuid, conversation: Uuid) -> Result<()> {
    let analysis = pb::ConversationAnalysis {
        conversation_id: conversation.to_string(),
        topics: vec!["bread".to_owned(), "opening hours".to_owned()],
        summary: "Zoë asked for bread, and whether we are open on Sundays. She will come by.".to_owned(),
        ..Default::default()
    };
    let request = pb::RecordAnalysisRequest { analysis: Some(analysis), ..Default::default() };
    client::conversations(channel, tenant)?.record_analysis(request).await?;
    Ok(())
}

/// The topics of questions, in turn; with the number, every FAQ is different.
const MATTERS: [&str; 8] =
    ["bread", "opening hours", "delivery", "gluten", "birthday cakes", "prices", "parking", "allergies"];

/// Adds FAQs and questions to a customer through the service, with many calls at the same time.
async fn learn(channel: &Channel, whose: (Uuid, Uuid), known: Known) -> Result<()> {
    learn_faqs(channel, whose, known.faqs).await?;
    let (tenant, customer) = whose;
    let customer_id = customer.to_string();
    let questions = client::questions(channel, tenant)?;
    let ask = |number: usize| {
        let (mut questions, customer_id) = (questions.clone(), customer_id.clone());
        async move {
            let question = pb::PendingQuestion {
                customer_id,
                question: format!("How many people come on day {number}?"),
                ..Default::default()
            };
            let request = pb::CreatePendingQuestionRequest {
                pending_question: Some(question),
                request_id: String::new(),
            };
            questions.create_pending_question(request).await.map(|_| ())
        }
    };
    at_once((0..known.questions).map(ask)).await
}

/// Adds FAQs to a customer, which share most of their words.
pub(super) async fn learn_faqs(
    channel: &Channel,
    (tenant, customer): (Uuid, Uuid),
    count: usize,
) -> Result<()> {
    let customer_id = customer.to_string();
    let faqs = client::faqs(channel, tenant)?;
    let observe = |number: usize| {
        let (mut faqs, customer_id) = (faqs.clone(), customer_id.clone());
        let matter = MATTERS.iter().copied().cycle().nth(number).unwrap_or_default();
        async move {
            let observation = pb::FaqObservation {
                question: format!("What about {matter} on day {number}?"),
                answer: format!("On day {number} there is what you need: {CONTENT_OF_ANSWER}"),
                ..Default::default()
            };
            let request = pb::RecordFaqObservationRequest {
                customer_id,
                observation: Some(observation),
                request_id: String::new(),
            };
            faqs.record_faq_observation(request).await.map(|_| ())
        }
    };
    at_once((0..count).map(observe)).await
}

/// The rest of each answer, so that answers have a realistic length.
const CONTENT_OF_ANSWER: &str = "ask at the counter, write to us, or look at the board beside the door.";

/// Makes calls, as many at the same time as keep the service busy.
async fn at_once<F>(calls: impl Iterator<Item = F>) -> Result<()>
where
    F: Future<Output = std::result::Result<(), tonic::Status>>,
{
    Ok(stream::iter(calls.map(Ok)).try_for_each_concurrent(CALLS, |call| call).await?)
}
