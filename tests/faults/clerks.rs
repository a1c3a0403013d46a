//! Clients of unary calls that follow the retry policy of docs/promises.md, and record the results.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crm_testkit::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Status;
use uuid::Uuid;

use super::client::{Client, is_passing};
use super::workload::Place;

/// The policy's pause after a first failure; it doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The number of attempts after which the policy gives a call up.
const ATTEMPTS: usize = 15;

/// A unary call.
enum Call {
    /// Creates a customer.
    Create(Uuid),
    /// Reads it.
    Get(String),
}

impl Call {
    /// Makes the call once, and returns the customer's id.
    async fn ask(&self, client: &mut Client) -> Result<String, Status> {
        match self {
            Self::Create(request_id) => client.create_customer(*request_id).await,
            Self::Get(id) => client.get_customer(id).await.map(|customer| customer.id),
        }
    }
}

/// The results of clerks.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Calls that got the right answer.
    pub(crate) answered: usize,
    /// The customers among them that were created.
    pub(crate) created: usize,
    /// Failed attempts.
    pub(crate) retries: usize,
    /// The largest number of attempts of a call.
    pub(crate) attempts: usize,
    /// Calls that failed finally.
    pub(crate) failed: Vec<Status>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, created: _, retries, attempts, failed } = self;
        write!(f, "unary: {answered} answered, {retries} retries, ")?;
        write!(f, "at most {attempts} attempts for one, {} failed", failed.len())
    }
}

/// One client. It knows the addresses of the replicas, and uses the next one after a failure.
struct Clerk {
    tenant: Uuid,
    places: Vec<Place>,
    turn: usize,
    client: Option<Client>,
    random: Random,
    record: Record,
}

impl Clerk {
    async fn work(mut self, stop: watch::Receiver<bool>) -> Record {
        while !*stop.borrow() {
            let Some(id) = self.persist(&Call::Create(Uuid::new_v4())).await else { continue };
            self.record.created += 1;
            if let Some(found) = self.persist(&Call::Get(id.clone())).await {
                assert_eq!(found, id);
            }
        }
        self.record
    }

    /// Makes a call until it is answered, by the policy.
    async fn persist(&mut self, call: &Call) -> Option<String> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let failure = match self.ask(call).await {
                Ok(answer) => {
                    self.record.answered += 1;
                    self.record.attempts = self.record.attempts.max(attempt);
                    return Some(answer);
                }
                Err(status) => status,
            };
            if !is_passing(&failure) || attempt == ATTEMPTS {
                self.record.failed.push(failure);
                return None;
            }
            self.record.retries += 1;
            self.client = None;
            self.turn += 1;
            // Between half of the pause and all of it, so that clients that failed together do not retry together.
            tokio::time::sleep(pause.mul_f64(0.5 + self.random.share() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        None
    }

    async fn ask(&mut self, call: &Call) -> Result<String, Status> {
        let client = match &mut self.client {
            Some(client) => client,
            None => {
                let address = *self.places[self.turn % self.places.len()].borrow();
                self.client.insert(Client::try_connect(address, self.tenant).await?)
            }
        };
        call.ask(client).await
    }
}

/// Clerks at work for one tenant.
pub(crate) struct Clerks {
    tenant: Uuid,
    clerks: JoinSet<Record>,
    stop: watch::Sender<bool>,
}

impl Clerks {
    /// Starts `count` clerks, which use all of `places`.
    pub(crate) fn begin(count: usize, places: &[Place], random: &mut Random) -> Self {
        let (tenant, stop) = (Uuid::new_v4(), watch::Sender::new(false));
        let mut clerks = JoinSet::new();
        for turn in 0..count {
            let clerk = Clerk {
                tenant,
                places: places.to_vec(),
                turn,
                client: None,
                random: random.fork(),
                record: Record::default(),
            };
            clerks.spawn(clerk.work(stop.subscribe()));
        }
        Self { tenant, clerks, stop }
    }

    /// Lets them finish, and compares their results with the database.
    pub(crate) async fn finish(self, address: SocketAddr) -> Record {
        let Self { tenant, clerks, stop } = self;
        stop.send_replace(true);
        let mut all = Record::default();
        for Record { answered, created, retries, attempts, failed } in clerks.join_all().await {
            all.answered += answered;
            all.created += created;
            all.retries += retries;
            all.attempts = all.attempts.max(attempts);
            all.failed.extend(failed);
        }
        let there = Client::connect(address, tenant).await.count_customers().await;
        // A call that failed finally may have happened.
        let most = all.created + all.failed.len();
        assert!((all.created..=most).contains(&there), "{} created, {there} there", all.created);
        all
    }
}
