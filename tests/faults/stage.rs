//! What the scenarios have in common: a run with its seed, the service, and the clients at work.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::checker::{self, Figures, Stored};
use super::client::Client;
use super::harness::{Scratch, Server};
use super::log::{Log, Watched};
use super::random::{self, Random};
use super::watchers::{End, Watcher};
use super::workload::{Place, Producer, Work};

/// Longer than watchers take to learn of the end, on a machine with much else to do.
const END: Duration = Duration::from_secs(120);

/// Without an answer for so long, something hangs.
const STALL: Duration = Duration::from_secs(60);

/// How much of something a scenario does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// As much as shows that it works, in seconds.
    Short,
    /// As much as is promised.
    Long,
}

impl Size {
    pub(crate) fn pick<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// One run of a scenario.
pub(crate) struct Run {
    name: &'static str,
    seed: u64,
    pub(crate) size: Size,
    pub(crate) random: Random,
    /// Long runs measure, and so come one after the other.
    _alone: Option<MutexGuard<'static, ()>>,
}

impl Run {
    pub(crate) async fn begin(name: &'static str, size: Size) -> Self {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = match size {
            Size::Short => None,
            Size::Long => Some(ALONE.lock().await),
        };
        let seed = random::seed();
        let run = Self { name, seed, size, random: Random::new(seed), _alone: alone };
        run.say(&format_args!("begins with CRM_FAULTS_SEED={seed}"));
        run
    }

    /// Tells the figures. Those of a long run are seen also when it succeeds.
    pub(crate) fn say(&self, words: &dyn fmt::Display) {
        let line = format!("{} (seed {}): {words}", self.name, self.seed);
        match self.size {
            Size::Short => println!("{line}"),
            Size::Long => writeln!(std::io::stderr(), "{line}").expect("standard error"),
        }
    }
}

/// A program that serves from a database, and is started again when it is killed.
pub(crate) struct Service {
    scratch: Scratch,
    arguments: Vec<String>,
    server: Option<Server>,
    place: watch::Sender<SocketAddr>,
}

impl Service {
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(url, &[])
    }

    /// Starts with more arguments.
    pub(crate) fn start_with(url: &str, more: &[&str]) -> Self {
        let scratch = Scratch::new();
        let arguments = [&["--database-url", url], more].concat();
        let server = Server::start_with(&scratch, &arguments);
        let place = watch::Sender::new(server.address);
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        Self { scratch, arguments, server: Some(server), place }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it is killed only to be started")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server().address
    }

    pub(crate) fn pid(&self) -> Pid {
        self.server().program.pid()
    }

    /// Where it is, also after it was started again.
    pub(crate) fn place(&self) -> Place {
        self.place.subscribe()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts it again, and says how long it took until it served.
    pub(crate) fn restart(&mut self) -> Duration {
        let began = Instant::now();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let server = Server::start_with(&self.scratch, &arguments);
        let took = began.elapsed();
        self.place.send_replace(server.address);
        self.server = Some(server);
        took
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn terminate(mut self) {
        if let Some(server) = self.server.take() {
            server.terminate().succeeded();
        }
    }
}

/// How many clients there are of each kind.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub(crate) tenants: usize,
    /// Conversations of each tenant.
    pub(crate) conversations: usize,
    /// Producers of each tenant, which write to all of its conversations.
    pub(crate) producers: usize,
    /// Watchers of each conversation.
    pub(crate) watchers: usize,
    pub(crate) work: Work,
}

impl Cast {
    /// Several of everything, for faults that hit them all.
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

/// Clients at work.
pub(crate) struct Play {
    tenants: Vec<(Uuid, Vec<Arc<str>>)>,
    producers: JoinSet<Log>,
    watchers: JoinSet<Watched>,
    stop: watch::Sender<bool>,
    end: watch::Sender<Option<Arc<Stored>>>,
    progress: watch::Sender<usize>,
}

impl Play {
    /// Starts them on new conversations, which are made at `address`. Producers write to one place
    /// and watchers look at another, which may be the same.
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

    /// Waits until producers got so many more answers.
    pub(crate) async fn answers(&self, more: usize) {
        let wanted = *self.progress.borrow() + more;
        self.answers_in_all(wanted).await;
    }

    /// Waits until producers have so many answers since they began.
    pub(crate) async fn answers_in_all(&self, wanted: usize) {
        let mut progress = self.progress.subscribe();
        while *progress.borrow_and_update() < wanted {
            let changed = tokio::time::timeout(STALL, progress.changed()).await;
            changed.expect("answers still come").expect("producers");
        }
    }

    /// The first tenant, and its first conversation.
    pub(crate) fn first_conversation(&self) -> (Uuid, Arc<str>) {
        let (tenant, conversations) = self.tenants.first().expect("a tenant");
        (*tenant, Arc::clone(conversations.first().expect("a conversation")))
    }

    /// Tells what there is in the end, for watchers that a scenario has of its own.
    pub(crate) fn end(&self) -> End {
        self.end.subscribe()
    }

    /// Takes a watcher of the scenario's own in, for [`Play::finish`] to wait for and to check.
    pub(crate) fn admit(&mut self, watching: impl Future<Output = Watched> + Send + 'static) {
        self.watchers.spawn(watching);
    }

    /// The logs of the producers, when all have ended.
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

    /// Lets producers finish what they began, and the watchers learn of it, and checks all that they
    /// wrote down.
    pub(crate) async fn finish(self, address: SocketAddr) -> Figures {
        self.stop.send_replace(true);
        self.complete(address).await
    }

    /// As [`Play::finish`], for producers that have an end of their own.
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

/// The figures, when all promises were kept.
#[track_caller]
pub(crate) fn verdict(logs: &[Log], stored: &Stored, watched: &[Watched]) -> Figures {
    match checker::check(logs, stored, watched) {
        Ok(figures) => figures,
        Err(faults) => panic!("promises were broken: {}", checker::describe(&faults)),
    }
}
