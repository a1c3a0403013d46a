//! Calls over HTTP/2 with JSON, compared with the same calls of gRPC: as many connections, and as many calls at a time,
//! in turns.

use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::beside;
use super::create_message::{self, Target};
use super::idle_watch;
use super::reads::{self, CONNECTIONS, GETS, Turn};
use super::watch::{self, OPENING, Told};
use crate::Result;
use crate::http::{self, Connection};
use crate::measure::{Load, quantile};
use crate::pgbench::Share;
use crate::report::Measured;
use crate::stage::Stage;
use crate::writers::{CONTENT, Keys};

/// The callers that create messages.
const CREATING: usize = 32;

/// A resource, of which only the id is looked at. Its JSON is read whole.
#[derive(Debug, Deserialize)]
struct Resource {
    id: String,
}

#[derive(Debug, Deserialize)]
struct CustomerAnswer {
    customer: Resource,
}

#[derive(Debug, Deserialize)]
struct MessageAnswer {
    message: Resource,
}

/// What a watcher reads of an event.
#[derive(Debug, Deserialize)]
struct WatchAnswer {
    event: Option<Event>,
}

#[derive(Debug, Deserialize)]
struct Event {
    message_added: Option<Added>,
}

#[derive(Debug, Deserialize)]
struct Added {
    message: Message,
}

#[derive(Debug, Deserialize)]
struct Message {
    message_key: String,
}

/// `rest_get_customer`.
pub(crate) async fn get_customer(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let shares = stage.shelf.customers(stage).await?;
    let server = stage.server();
    let grpc = async || reads::getting(&server, &shares).await;
    compare(stage, "rest_get_customer", async || getting(stage, &shares).await, grpc).await
}

/// `rest_create_message`.
pub(crate) async fn create_message(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let grpc = async || create_message::calling(stage, CREATING).await;
    compare(stage, "rest_create_message", async || creating(stage).await, grpc).await
}

/// `sse_watch_p99`.
pub(crate) async fn watch(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let (mut values, mut baselines) = (Vec::new(), Vec::new());
    for _ in 0..stage.options.rounds {
        stage.settle().await?;
        let conversations = watch::conversations(stage).await?;
        let watches = watching(stage, &conversations).await?;
        values.push(quantile(&watch::round(stage, &conversations, watches, None).await?, 0.99)?);
        if stage.options.perf.is_none() {
            stage.settle().await?;
            let conversations = watch::conversations(stage).await?;
            let watches = watch::watching(stage, &conversations).await?;
            baselines.push(quantile(&watch::round(stage, &conversations, watches, None).await?, 0.99)?);
        }
    }
    Ok(vec![Measured::rounds("sse_watch_p99", &values)?.beside_rounds(&baselines)])
}

/// `idle_sse_memory`.
pub(crate) async fn idle(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let connections = http::connections(stage.address, idle_watch::CONNECTIONS).await?;
    let open = async |conversations: Vec<_>| {
        let watches = conversations.into_iter().zip(connections.iter().cycle());
        stream::iter(watches)
            .map(|((tenant, conversation), connection): ((_, String), &Connection)| async move {
                let path = format!("/api/v1/conversations/{conversation}/events");
                connection.client(tenant)?.events::<WatchAnswer>(&path).await
            })
            .buffer_unordered(OPENING)
            .try_collect()
            .await
    };
    Ok(vec![Measured::new("idle_sse_memory", idle_watch::memory(stage, open).await?)])
}

/// Compares the rates in turns. A profile is of the calls of HTTP alone.
async fn compare(
    stage: &Stage<'_>,
    name: &'static str,
    web: impl AsyncFn() -> Result<Load>,
    grpc: impl AsyncFn() -> Result<Load>,
) -> Result<Vec<Measured>> {
    stage.settle().await?;
    if stage.options.perf.is_some() {
        let rate = web().await?.rate(stage.options.round()).await?;
        return Ok(vec![Measured::rounds(name, &[rate])?]);
    }
    Ok(vec![beside::in_turns(stage, name, web, grpc).await?])
}

/// Starts clients that read customers.
async fn getting(stage: &Stage<'_>, shares: &[Share]) -> Result<Load> {
    let connections = http::connections(stage.address, CONNECTIONS).await?;
    let mut load = Load::new();
    let clients = (0..CONNECTIONS * GETS).zip(connections.iter().cycle()).zip(shares.iter().cycle());
    for ((number, connection), share) in clients {
        let (client, mut ids) = (connection.client(share.tenant)?, Turn::new(share.ids, number));
        load.spawn_calls(move || {
            let (mut client, id) = (client.clone(), ids.next());
            async move {
                let answer: CustomerAnswer = client.get(&format!("/api/v1/customers/{id}")).await?;
                (answer.customer.id == id).then_some(()).ok_or_else(|| "another customer".into())
            }
        });
    }
    Ok(load)
}

/// Starts callers that create messages, each in a conversation of its own.
async fn creating(stage: &Stage<'_>) -> Result<Load> {
    let targets = create_message::targets(stage, CREATING).await?;
    stage.settle().await?;
    let connections = http::connections(stage.address, create_message::CONNECTIONS).await?;
    let mut load = Load::new();
    for (Target { tenant, conversation }, connection) in targets.into_iter().zip(connections.iter().cycle()) {
        let (client, keys, mut number) = (connection.client(tenant)?, Keys::new(), 0);
        let path = format!("/api/v1/conversations/{conversation}/messages");
        load.spawn_calls(move || {
            number += 1;
            let (mut client, path) = (client.clone(), path.clone());
            let message = json!({"message_key": keys.key(0, number), "role": "user", "content": *CONTENT});
            async move {
                let answer: MessageAnswer = client.post(&path, Bytes::from(message.to_string())).await?;
                (!answer.message.id.is_empty()).then_some(()).ok_or_else(|| "a message without id".into())
            }
        });
    }
    Ok(load)
}

/// Opens the watches of a round, as events of HTTP.
async fn watching(stage: &Stage<'_>, conversations: &[watch::Watched]) -> Result<Vec<Told>> {
    let connections = http::connections(stage.address, watch::CONNECTIONS).await?;
    let watches = watch::watchers(conversations).zip(connections.iter().cycle());
    stream::iter(watches)
        .map(|((tenant, conversation), connection)| async move {
            let path = format!("/api/v1/conversations/{conversation}/events?after_sequence=0");
            let events = connection.client(*tenant)?.events::<WatchAnswer>(&path).await?;
            let added = events.try_filter_map(async |answer| {
                Ok(answer.event.and_then(|event| event.message_added).map(|added| added.message.message_key))
            });
            Ok(added.boxed())
        })
        .buffered(OPENING)
        .try_collect()
        .await
}
