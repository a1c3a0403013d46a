//! The common parts of scenarios: the running clients, and the check of their logs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crm_testkit::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::checker::{self, Figures, Stored};
use super::client::Client;
use super::log::{Log, Watched};
use super::watchers::{End, Watcher};
use super::workload::{Place, Producer, Work};

/// Longer than watchers need to learn of the end on a busy machine.
const END: Duration = Duration::from_secs(120);

/// If there is no answer for this long, something hangs.
const STALL: Duration = Duration::from_secs(60);

/// The number of clients of each kind.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub(crate) tenants: usize,
    /// The conversations of each tenant.
    pub(crate) conversations: usize,
    /// The producers of each tenant, which write to all of its conversations.
    pub(crate) producers: usize,
    /// The watchers of each conversation.
    pub(crate) watchers: usize,
    pub(crate) work: Work,
}

impl Cast {
    /// Several clients of every kind, for faults that affect them all.
    pub(crate) fn usual() -> Self {
        let work = Work {
            window: 1..24,
            messages: usize::MAX,
            pieces_once_in: Some(3),
            again_once_in: 8,
            drops_once_in: Some(400),
        };
        Self { tenants: 2, conversations: 3, producers: 2, watchers: 1, work }
    }
}

/// The running clients.
pub(crate) struct Play {
    tenants: Vec<(Uuid, Vec<Arc<str>>)>,
    producers: JoinSet<Log>,
    watchers: JoinSet<Watched>,
    stop: watch::Sender<bool>,
    end: watch::Sender<Option<Arc<Stored>>>,
    progress: watch::Sender<usize>,
}

impl Play {
    /// Starts clients on new conversations, which are created at `address`. Producers write to one
    /// place and watchers watch another, which may be the same.
    pub(crate) async fn begin(
        cast: &Cast,
        random: &mut Random,
        address: SocketAddr,
        (write, watch): (Place, Place),
    ) -> Self {
        let mut play = Self {
            tenants: Vec::new(),
            producers: JoinSet::new(),
            watchers: JoinSet::new(),
            stop: watch::Sender::new(false),
            end: watch::Sender::new(None),
            progress: watch::Sender::new(0),
        };
        for tenant_number in 0..cast.tenants {
            let tenant = Uuid::new_v4();
            let conversations =
                Client::connect(address, tenant).await.create_conversations(cast.conversations).await;
            for number in 0..cast.producers {
                let signals = (play.stop.subscribe(), play.progress.clone());
                let name = format!("p{tenant_number}.{number}");
                let work = cast.work.clone();
                let producer =
                    Producer::new(name, tenant, conversations.clone(), work, random.fork(), signals);
                play.producers.spawn(producer.run(write.clone()));
            }
            for conversation in conversations.iter().flat_map(|one| std::iter::repeat_n(one, cast.watchers)) {
                let watcher = Watcher::new(tenant, Arc::clone(conversation));
                play.watchers.spawn(watcher.run(watch.clone(), play.end.subscribe()));
            }
            play.tenants.push((tenant, conversations));
        }
        play
    }

    /// Waits until producers got this many more answers.
    pub(crate) async fn answers(&self, more: usize) {
        let wanted = *self.progress.borrow() + more;
        self.answers_in_all(wanted).await;
    }

    /// Waits until producers got this many answers since their beginning.
    pub(crate) async fn answers_in_all(&self, wanted: usize) {
        let mut progress = self.progress.subscribe();
        while *progress.borrow_and_update() < wanted {
            let changed = tokio::time::timeout(STALL, progress.changed()).await;
            changed.expect("answers still come").expect("producers");
        }
    }

    /// Returns the first tenant, and its first conversation.
    pub(crate) fn first_conversation(&self) -> (Uuid, Arc<str>) {
        let (tenant, conversations) = self.tenants.first().expect("a tenant");
        (*tenant, Arc::clone(conversations.first().expect("a conversation")))
    }

    /// Returns the final messages once known, for a scenario's own watchers.
    pub(crate) fn end(&self) -> End {
        self.end.subscribe()
    }

    /// Adds a scenario's own watcher, which [`Play::finish`] awaits and checks.
    pub(crate) fn admit(&mut self, watching: impl Future<Output = Watched> + Send + 'static) {
        self.watchers.spawn(watching);
    }

    /// Returns the logs of the producers, after all have ended.
    async fn produced(&mut self) -> Vec<Log> {
        let mut progress = self.progress.subscribe();
        let mut logs = Vec::new();
        loop {
            tokio::select! {
                ended = self.producers.join_next() => match ended {
                    Some(log) => logs.push(log.expect("no panic")),
                    None => return logs,
                },
                Ok(()) = progress.changed() => {}
                () = tokio::time::sleep(STALL) => panic!("producers get no more answers"),
            }
        }
    }

    /// Lets producers finish what they began, and the watchers see it. Then checks all of their
    /// logs.
    pub(crate) async fn finish(self, address: SocketAddr) -> Figures {
        self.stop.send_replace(true);
        self.complete(address).await
    }

    /// As [`Play::finish`], for producers that end by themselves.
    pub(crate) async fn complete(mut self, address: SocketAddr) -> Figures {
        let logs = self.produced().await;
        let stored = Arc::new(read(&self.tenants, address).await);
        self.end.send_replace(Some(Arc::clone(&stored)));
        let watchers = tokio::time::timeout(END, self.watchers.join_all()).await;
        let watched = watchers.expect("watchers learn of the end");
        verdict(&logs, &stored, &watched)
    }
}

/// Reads all messages of all conversations.
pub(crate) async fn read(tenants: &[(Uuid, Vec<Arc<str>>)], address: SocketAddr) -> Stored {
    let mut stored = Stored::new();
    for (tenant, conversations) in tenants {
        let mut client = Client::connect(address, *tenant).await;
        for conversation in conversations {
            stored.insert(Arc::clone(conversation), client.list_messages(conversation).await);
        }
    }
    stored
}

/// Returns the figures if all promises were kept.
#[track_caller]
pub(crate) fn verdict(logs: &[Log], stored: &Stored, watched: &[Watched]) -> Figures {
    match checker::check(logs, stored, watched) {
        Ok(figures) => figures,
        Err(faults) => panic!("promises were broken: {}", checker::describe(&faults)),
    }
}
