//! Reads at a standby: for callers that accept slightly old data, and never without their own writes.

use std::collections::BTreeSet;
use std::time::Duration;

use crm_backend::pb::customer_service_client::CustomerServiceClient;
use crm_backend::pb::{CreateCustomerRequest, Customer, ListCustomersRequest};
use crm_testkit::{Scrape, within};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::client::{Client, PAUSE, Tenanted};
use super::kills::durable_postgres;
use super::proxy::{Mode, Proxy};
use super::scratch;
use super::service::{Service, Setup};
use super::standby::{Admin, Standby};

/// More than the test takes.
const A_MINUTE: &str = "60000";

/// Less than the replay is paused for.
const A_MOMENT: &str = "300";

/// The metadata of calls and answers.
const MAX_STALENESS: &str = "x-max-staleness-ms";
const POSITION: &str = "x-read-position";

struct Reader(CustomerServiceClient<Tenanted>);

impl Reader {
    /// Creates a customer, and returns the position of the answer.
    async fn create(&mut self, name: &str) -> String {
        let customer = Some(Customer { business_name: name.to_owned(), ..Default::default() });
        let request = CreateCustomerRequest { customer, ..Default::default() };
        let answer = within(self.0.create_customer(request)).await.expect("created");
        let position = answer.metadata().get(POSITION).expect("a position");
        position.to_str().expect("a text").to_owned()
    }

    /// Returns the names of all customers, as a call with this metadata sees them.
    async fn names(&mut self, metadata: &[(&'static str, &str)]) -> Result<BTreeSet<String>, Status> {
        let mut request = Request::new(ListCustomersRequest::default());
        for (key, value) in metadata {
            request.metadata_mut().insert(*key, value.parse().expect("a value"));
        }
        let page = within(self.0.list_customers(request)).await?.into_inner();
        Ok(page.customers.into_iter().map(|customer| customer.business_name).collect())
    }

    async fn sees(&mut self, name: &str, metadata: &[(&'static str, &str)]) -> bool {
        self.names(metadata).await.expect("a page").contains(name)
    }

    /// Returns the names as the standby has them. A standby that was silent for a second is not read for a while, as
    /// on a machine that does much else. So this reads until one read is counted at the standby.
    async fn names_at_standby(
        &mut self,
        metadata: &[(&'static str, &str)],
        count: impl Fn() -> f64,
    ) -> BTreeSet<String> {
        within(async {
            loop {
                let before = count();
                let names = self.names(metadata).await.expect("a page");
                if count() > before {
                    return names;
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await
    }

    async fn sees_soon(&mut self, name: &str, metadata: &[(&'static str, &str)]) {
        within(async {
            while !self.sees(name, metadata).await {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_old_is_read_at_the_standby_and_ones_own_writes_are_never_missed() {
    let scratch = scratch();
    let primary = durable_postgres(&scratch);
    let mut standby = Standby::of(&primary, &scratch).await;
    let host = Proxy::start(standby.address()).await;
    let setup = Setup::of(primary.url()).with(&[
        "--read-database-url",
        &host.url(standby.url()),
        "--metrics-listen",
        "127.0.0.1:0",
    ]);
    let mut service = Service::launch(setup);
    let metrics = service.metrics();
    let value = |series: &str| Scrape::of(metrics).value(series).expect(series);
    let client = Client::connect(service.address(), Uuid::new_v4()).await;
    let mut reader = Reader(CustomerServiceClient::new(client.tenanted()));
    let stale = [(MAX_STALENESS, A_MINUTE)];
    reader.create("before").await;
    reader.sees_soon("before", &stale).await;

    let replay = Admin::connect(standby.url()).await;
    replay.text("SELECT pg_wal_replay_pause()").await;
    replay.until("SELECT pg_get_wal_replay_pause_state()", "paused").await;
    let position = reader.create("after").await;
    assert!(reader.sees("after", &[]).await, "a caller that allows nothing reads at the primary");
    let at = |place: &str| value(&format!("crm_stale_reads_total{{place=\"{place}\"}}"));
    let names = reader.names_at_standby(&stale, || at("standby")).await;
    assert!(!names.contains("after"), "a caller that allows a minute reads at the standby");
    assert!(names.contains("before"));
    let (at_standby, at_primary) = (at("standby"), at("primary"));
    assert!(reader.sees("after", &[(MAX_STALENESS, A_MINUTE), (POSITION, &position)]).await);
    assert!(reader.sees("after", &[(POSITION, &position)]).await, "a position alone allows nothing old");
    assert!(at("primary") > at_primary, "what is not replayed is read at the primary");
    assert_eq!(at("standby"), at_standby);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        reader.sees("after", &[(MAX_STALENESS, A_MOMENT)]).await,
        "it has been older than that for a while"
    );
    assert!(!reader.names_at_standby(&stale, || at("standby")).await.contains("after"));
    // Its age grows from the pause on, and is unknown while it is silent.
    within(async {
        while value("crm_standby_age_seconds").is_nan() || value("crm_standby_age_seconds") < 1.0 {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;

    replay.text("SELECT pg_wal_replay_resume()").await;
    reader.sees_soon("after", &stale).await;
    for wrong in [(MAX_STALENESS, "soon"), (MAX_STALENESS, "86400001"), (POSITION, "here")] {
        let refused = reader.names(&[wrong]).await.expect_err("neither a time nor a position");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(wrong.0), "{refused:?}");
    }

    // A silent standby delays neither writes nor, after a moment, reads.
    host.set(Mode::HalfOpen);
    reader.create("silent").await;
    reader.sees_soon("silent", &stale).await;
    host.set(Mode::Closed);
    // Reads that the standby can no longer serve go to the primary.
    drop(replay);
    standby.end();
    let position = reader.create("alone").await;
    assert!(reader.sees("alone", &[(MAX_STALENESS, A_MINUTE), (POSITION, &position)]).await);
    assert!(reader.names(&stale).await.expect("a page").contains("after"));
    assert!(value("crm_standby_age_seconds").is_nan(), "nothing is known of one that is away");
    service.terminate();
}
