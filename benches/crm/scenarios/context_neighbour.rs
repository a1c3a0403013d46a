//! A calm tenant beside one whose agents read contexts of a conversation with many results of tools.

use crm_backend::pb;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use uuid::Uuid;

use super::neighbour::{beside, come_back};
use crate::report::Measured;
use crate::stage::Stage;
use crate::{Result, client};

/// The messages of the conversation, the results of tools per message, and the bytes of each.
const MESSAGES: usize = 500;
const RESULTS: usize = 3;
const RESULT_BYTES: usize = 250_000;

/// The number of messages that are added at the same time.
const ADDED_AT_ONCE: usize = 8;

/// The number of agents, which each read contexts one after the other.
const AGENTS: usize = 32;

/// The connections that the agents share.
const CONNECTIONS: usize = 8;

/// The budgets: the default, and the largest.
const BUDGETS: [i32; 2] = [4_000, 200_000];

/// `context_neighbour`: the worst latency of the calm tenant over the budgets, compared with its latency alone.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let busy = stage.tenant().await?;
    let channel = client::channel(stage.address).await?;
    let conversation = stage.one_conversation(&busy).await?.text(1);
    fill(&channel, busy.id, &conversation).await?;
    let begin = async |max_tokens: i32| {
        let request = pb::GetAiContextRequest {
            customer_id: busy.customer.to_string(),
            conversation_id: conversation.clone(),
            max_tokens,
            ..Default::default()
        };
        let channels = client::channels(stage.address, CONNECTIONS).await?;
        let mut tasks = JoinSet::new();
        for channel in channels.into_iter().cycle().take(AGENTS) {
            tasks.spawn(read_again(channel, busy.id, request.clone()));
        }
        Ok(tasks)
    };
    beside(stage, "context_neighbour", &BUDGETS, begin).await
}

/// Adds messages with results of tools to a conversation.
async fn fill(channel: &Channel, tenant: Uuid, conversation: &str) -> Result<()> {
    let client = client::conversations(channel, tenant)?;
    let add = |number: usize| {
        let mut client = client.clone();
        let action = pb::MessageAction {
            name: "look_up".to_owned(),
            result: "{\"price\": 12.5}, ".repeat(RESULT_BYTES / 17),
            status: pb::ActionStatus::Succeeded.into(),
            ..Default::default()
        };
        let message = pb::Message {
            message_key: number.to_string(),
            role: pb::MessageRole::Assistant.into(),
            content: "x".to_owned(),
            actions: vec![action; RESULTS],
            ..Default::default()
        };
        let conversation_id = conversation.to_owned();
        let request =
            pb::CreateMessageRequest { conversation_id, message: Some(message), request_id: String::new() };
        async move { client.create_message(request).await.map(|_| ()) }
    };
    let added = stream::iter((0..MESSAGES).map(add)).buffer_unordered(ADDED_AT_ONCE);
    Ok(added.try_collect::<Vec<()>>().await.map(|_| ())?)
}

/// Reads a context again and again.
async fn read_again(channel: Channel, tenant: Uuid, request: pb::GetAiContextRequest) -> Result<()> {
    let mut client = client::customers(&channel, tenant)?;
    loop {
        if let Err(status) = client.get_ai_context(request.clone()).await {
            come_back(status).await?;
        }
    }
}
