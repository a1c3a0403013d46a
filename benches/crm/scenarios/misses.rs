//! Calls with the id of another tenant's resource, compared with calls with an unknown id. A caller that is not told
//! which of them it is must not be able to measure it either.

use std::future::Future;
use std::time::{Duration, Instant};

use crm_backend::pb;
use tonic::Code;
use uuid::Uuid;

use crate::measure::{WARM_UP, median, milliseconds};
use crate::report::Measured;
use crate::stage::Stage;
use crate::{Result, client};

/// The owner of an id.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Another,
    Nobody,
}

/// `miss_timing`: the sum of the medians of a read, of a read of a stream's kind, and of a write.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let channel = client::channel(stage.address).await?;
    let stranger = Uuid::new_v4();
    let tenant = stage.tenants.first().ok_or("there is no tenant")?;
    let (customer, conversation) = (tenant.customer, tenant.conversation);
    let customers = client::customers(&channel, stranger)?;
    let conversations = client::conversations(&channel, stranger)?;
    let id = |whose, id: Uuid| match whose {
        Whose::Another => id.to_string(),
        Whose::Nobody => Uuid::now_v7().to_string(),
    };
    stage.settle().await?;
    let rounds = stage.options.rounds as usize;
    let (mut foreign, mut absent) = (vec![0.0; rounds], vec![0.0; rounds]);
    let mut add = |medians: Vec<(f64, f64)>| {
        for ((foreign, absent), of) in foreign.iter_mut().zip(&mut absent).zip(medians) {
            *foreign += of.0;
            *absent += of.1;
        }
    };
    add(compare(stage, async |whose| {
        let request = pb::GetCustomerRequest { id: id(whose, customer), ..Default::default() };
        missed(customers.clone().get_customer(request)).await
    })
    .await?);
    add(compare(stage, async |whose| {
        let request = pb::UpdateCustomerRequest {
            customer: Some(pb::Customer {
                id: id(whose, customer),
                city: "Berlin".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        missed(customers.clone().update_customer(request)).await
    })
    .await?);
    add(compare(stage, async |whose| {
        let message = pb::Message {
            role: pb::MessageRole::User.into(),
            message_key: "key".to_owned(),
            content: "Hello".to_owned(),
            ..Default::default()
        };
        let request = pb::CreateMessageRequest {
            conversation_id: id(whose, conversation),
            message: Some(message),
            ..Default::default()
        };
        missed(conversations.clone().create_message(request)).await
    })
    .await?);
    Ok(vec![Measured::rounds("miss_timing", &foreign)?.beside_rounds(&absent)])
}

/// Returns the median milliseconds of both kinds of call in each round, taken in turn, so that other load on the machine
/// affects both.
async fn compare(stage: &Stage<'_>, call: impl AsyncFn(Whose) -> Result<()>) -> Result<Vec<(f64, f64)>> {
    calls(WARM_UP, &call).await?;
    let mut medians = Vec::new();
    for _ in 0..stage.options.rounds {
        let (foreign, absent) = calls(stage.options.calm_round(), &call).await?;
        medians.push((median(&foreign)?, median(&absent)?));
    }
    Ok(medians)
}

/// Returns the milliseconds of all calls in some time.
async fn calls(time: Duration, call: &impl AsyncFn(Whose) -> Result<()>) -> Result<(Vec<f64>, Vec<f64>)> {
    let end = Instant::now() + time;
    let (mut foreign, mut absent) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        for (whose, took) in [(Whose::Another, &mut foreign), (Whose::Nobody, &mut absent)] {
            let began = Instant::now();
            call(whose).await?;
            took.push(milliseconds(began.elapsed()));
        }
    }
    Ok((foreign, absent))
}

/// Expects that a call finds nothing.
async fn missed<T>(call: impl Future<Output = std::result::Result<T, tonic::Status>>) -> Result<()> {
    match call.await {
        Err(error) if error.code() == Code::NotFound => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err("found what is another tenant's".into()),
    }
}
