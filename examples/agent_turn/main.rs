//! Two turns of an AI agent with a customer, call by call, as docs/agent-turn.md describes them:
//!
//! ```text
//! cargo run --example agent_turn -- [--server URL] [--tenant UUID]
//! ```
//!
//! The model is a script with fixed replies, and needs no network. Everything else is what an agent worker does.
//! Every run creates a new customer.

mod script;

use std::process::ExitCode;

use clap::Parser;
use crm_contract::pb::add_message_request::Command;
use crm_contract::pb::add_message_response::Result as Answer;
use crm_contract::pb::conversation_service_client::ConversationServiceClient;
use crm_contract::pb::customer_faq_service_client::CustomerFaqServiceClient;
use crm_contract::pb::customer_service_client::CustomerServiceClient;
use crm_contract::pb::pending_question_service_client::PendingQuestionServiceClient;
use crm_contract::{CallerMetadata, pb};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use script::{Reply, TURNS, Turn};

/// The tokens of the context: as for a small model, to show that no token is wasted.
const BUDGET: i32 = 1_500;

/// Have two turns with a customer, who asks a question and answers one.
#[derive(Debug, Parser)]
#[command(name = "agent_turn", max_term_width = 100)]
struct Cli {
    /// Address of the service.
    #[arg(long, default_value = "http://127.0.0.1:50051", value_name = "URL")]
    server: Endpoint,

    /// Tenant of the agent.
    #[arg(long, default_value = "0199d1c0-0000-7000-8000-000000000001", value_name = "UUID")]
    tenant: Uuid,
}

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    match talk(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("agent_turn: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn talk(cli: Cli) -> Result<(), Error> {
    let channel = cli.server.connect().await.map_err(|_| {
        let server = cli.server.uri();
        format!("No service answers at {server}. Start it with `cargo run`, or name another with --server.")
    })?;
    let mut agent = Agent::meet(&channel, CallerMetadata::of_tenant(&cli.tenant.to_string())?).await?;
    for turn in TURNS {
        agent.turn(turn).await?;
    }
    agent.sum_up().await?;
    let context = agent.context().await?;
    println!("\nThe context of the next turn: {} of {BUDGET} tokens\n", context.token_count);
    println!("{}", context.markdown);
    Ok(())
}

/// An agent in a conversation.
struct Agent {
    customers: CustomerServiceClient<Service>,
    conversations: ConversationServiceClient<Service>,
    questions: PendingQuestionServiceClient<Service>,
    faqs: CustomerFaqServiceClient<Service>,
    customer_id: String,
    conversation_id: String,
    requests: mpsc::UnboundedSender<pb::AddMessageRequest>,
    answers: Streaming<pb::AddMessageResponse>,
    /// The question that the last reply asked.
    asked: Option<String>,
}

impl Agent {
    /// Creates a customer with open questions, and a conversation with the customer.
    async fn meet(channel: &Channel, tenant: CallerMetadata) -> Result<Self, Error> {
        let with_tenant = || (channel.clone(), tenant.clone());
        let (channel_of, tenant_of) = with_tenant();
        let mut customers = CustomerServiceClient::with_interceptor(channel_of, tenant_of);
        let (channel_of, tenant_of) = with_tenant();
        let mut conversations = ConversationServiceClient::with_interceptor(channel_of, tenant_of);
        let (channel_of, tenant_of) = with_tenant();
        let mut questions = PendingQuestionServiceClient::with_interceptor(channel_of, tenant_of);
        let (channel_of, tenant_of) = with_tenant();
        let faqs = CustomerFaqServiceClient::with_interceptor(channel_of, tenant_of);

        let customer = customers.create_customer(script::customer()).await?.into_inner().customer;
        let customer_id = customer.ok_or("no customer")?.id;
        for question in script::questions(&customer_id) {
            questions.create_pending_question(question).await?;
        }
        let opened = conversations.create_conversation(script::conversation(&customer_id)).await?;
        let conversation_id = opened.into_inner().conversation.ok_or("no conversation")?.id;
        let (requests, outgoing) = mpsc::unbounded_channel();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let answers = conversations.add_message(outgoing).await?.into_inner();
        let asked = None;
        let agent = Self {
            customers,
            conversations,
            questions,
            faqs,
            customer_id,
            conversation_id,
            requests,
            answers,
            asked,
        };
        Ok(agent)
    }

    /// Runs a turn, from the customer's message to what the agent learns from it.
    async fn turn(&mut self, turn: &Turn) -> Result<(), Error> {
        println!("\nCustomer   {}", turn.customer);
        let message = pb::Message {
            message_key: format!("{}/customer", turn.name),
            role: pb::MessageRole::User.into(),
            content: turn.customer.to_owned(),
            ..Default::default()
        };
        let said = self.add(Command::Message(message)).await?;
        let context = self.context().await?;
        println!("GetAiContext: {} of {BUDGET} tokens", context.token_count);

        let reply = script::reply(turn);
        let replied = self.stream_reply(turn, &reply).await?;
        if let Some(id) = self.asked.take() {
            self.learn_answer(&id, turn, &said.message_id).await?;
        }
        if let Some(label) = reply.asks {
            self.note_question(&context, label, &replied.message_id).await?;
        }
        if let Some((question, answer)) = turn.learned {
            self.observe(question, answer, &said.message_id).await?;
        }
        Ok(())
    }

    async fn context(&mut self) -> Result<pb::GetAiContextResponse, Error> {
        let request = pb::GetAiContextRequest {
            customer_id: self.customer_id.clone(),
            conversation_id: self.conversation_id.clone(),
            max_tokens: BUDGET,
            format: pb::ContextFormat::Markdown.into(),
            ..Default::default()
        };
        Ok(self.customers.get_ai_context(request).await?.into_inner())
    }

    /// Streams the reply as the model writes it.
    async fn stream_reply(&mut self, turn: &Turn, reply: &Reply) -> Result<pb::MessageAck, Error> {
        let message_key = format!("{}/assistant", turn.name);
        let start = pb::MessageStart {
            message_key: message_key.clone(),
            role: pb::MessageRole::Assistant.into(),
            // After a lost connection, the same producer can continue at once.
            producer_id: "agent-turn".to_owned(),
            ai: Some(pb::AiMetadata { model: "script".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        self.send(Command::Start(start))?;
        let mut length = 0;
        for piece in reply.pieces {
            let delta = pb::MessageDelta {
                message_key: message_key.clone(),
                offset: length,
                text: (*piece).to_owned(),
            };
            length += i32::try_from(piece.len())?;
            self.send(Command::Delta(delta))?;
        }
        let finish = pb::MessageFinish { message_key, length, ..Default::default() };
        let ack = self.add(Command::Finish(finish)).await?;
        println!("Assistant  {}", reply.pieces.concat());
        Ok(ack)
    }

    /// Records that the reply asked a question, so that it is not asked again for a while.
    async fn note_question(
        &mut self,
        context: &pb::GetAiContextResponse,
        label: &str,
        message_id: &str,
    ) -> Result<(), Error> {
        let reference = context.references.iter().find(|reference| reference.label == label);
        let id = reference.ok_or("the context has no such question")?.resource_id.clone();
        let request = pb::MarkPendingQuestionAskedRequest {
            id: id.clone(),
            conversation_id: self.conversation_id.clone(),
            message_id: message_id.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let asked = self.questions.mark_pending_question_asked(request).await?.into_inner();
        let question = asked.pending_question.ok_or("no question")?;
        println!("MarkPendingQuestionAsked: {:?}", question.question);
        self.asked = Some(id);
        Ok(())
    }

    /// Records the customer's answer, which becomes a field of the customer.
    async fn learn_answer(&mut self, id: &str, turn: &Turn, message_id: &str) -> Result<(), Error> {
        let Some(answer) = turn.answers else { return Ok(()) };
        let request = pb::MarkPendingQuestionAnsweredRequest {
            id: id.to_owned(),
            answer: answer.to_owned(),
            confidence: Some(0.9),
            conversation_id: self.conversation_id.clone(),
            message_id: message_id.to_owned(),
            write_to_customer: true,
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let answered = self.questions.mark_pending_question_answered(request).await?.into_inner();
        let question = answered.pending_question.ok_or("no question")?;
        let answer = question.answer.ok_or("no answer")?.text;
        println!("MarkPendingQuestionAnswered: {} is {answer:?}", question.target_field);
        Ok(())
    }

    /// Records the customer's question and the answer to it.
    async fn observe(&mut self, question: &str, answer: &str, message_id: &str) -> Result<(), Error> {
        let observation = pb::FaqObservation {
            question: question.to_owned(),
            answer: answer.to_owned(),
            conversation_id: self.conversation_id.clone(),
            message_id: message_id.to_owned(),
            confidence: Some(0.8),
            observed_by: "agent_turn".to_owned(),
            ..Default::default()
        };
        let request = pb::RecordFaqObservationRequest {
            customer_id: self.customer_id.clone(),
            observation: Some(observation),
            request_id: Uuid::new_v4().to_string(),
        };
        let faq = self.faqs.record_faq_observation(request).await?.into_inner().customer_faq;
        let faq = faq.ok_or("no FAQ")?;
        println!("RecordFaqObservation: {:?}, confidence {:.2}", faq.question, faq.derived_confidence);
        Ok(())
    }

    /// Records the analysis of the conversation.
    async fn sum_up(&mut self) -> Result<(), Error> {
        let request = script::analysis(&self.conversation_id);
        let recorded = self.conversations.record_analysis(request).await?.into_inner();
        let analysis = recorded.analysis.ok_or("no analysis")?;
        println!("\nRecordAnalysis: {}", analysis.summary);
        Ok(())
    }

    fn send(&self, action: Command) -> Result<(), Error> {
        let conversation_id = self.conversation_id.clone();
        Ok(self.requests.send(pb::AddMessageRequest { conversation_id, command: Some(action) })?)
    }

    /// Sends a request that completes a message, and waits until it is committed.
    async fn add(&mut self, action: Command) -> Result<pb::MessageAck, Error> {
        self.send(action)?;
        loop {
            let response = self.answers.message().await?.ok_or("the stream ended")?;
            match response.result.ok_or("an empty answer")? {
                Answer::Ack(ack) if ack.status() == pb::MessageStatus::Completed => return Ok(ack),
                // Acknowledges the part of an incomplete reply that is durable.
                Answer::Ack(_) => {}
                Answer::Error(error) => {
                    return Err(format!("{}: {:?}", error.message_key, error.status).into());
                }
                Answer::GoAway(away) => return Err(format!("the service stops: {}", away.reason).into()),
            }
        }
    }
}

type Service = InterceptedService<Channel, CallerMetadata>;
