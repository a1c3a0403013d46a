//! A TCP proxy on the loopback address that breaks what goes through it, in chosen ways.

mod frames;
mod plan;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crm_testkit::Random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use frames::Frames;
use plan::{ByteCut, CommitCut, Plan};

/// The number of bytes that are moved at once.
const CHUNK: usize = 16 * 1024;

/// How long the answer to a COMMIT is awaited before the cut.
const ANSWER: Duration = Duration::from_secs(2);

/// How many bytes a slow connection moves between two pauses, and the length of a pause.
const SLOW: (usize, Duration) = (1024, Duration::from_millis(2));

/// How the proxy treats all connections from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bytes are passed on.
    Open,
    /// Bytes are passed on, a few at a time.
    Slow,
    /// Connections are accepted, and no bytes are passed on, as in a network failure. Connections
    /// that tried to send end together with this mode.
    BlackHole,
    /// The bytes of both sides are lost, and neither side learns that the other has gone.
    /// Connections of this time stay so.
    HalfOpen,
    /// All connections are closed, and new ones at once.
    Closed,
}

/// What happens to the answers on a connection that is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// They are passed on.
    Pass,
    /// They are lost.
    Vanish,
    /// One was lost.
    Vanished,
}

struct Shared {
    upstream: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    plan: Mutex<Plan>,
    cuts: watch::Sender<usize>,
    taken: AtomicUsize,
    /// How often all connections were lost. A connection knows the count at its beginning.
    losses: AtomicUsize,
    open: watch::Sender<usize>,
}

/// A proxy. It ends with all its connections when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy in front of `upstream`.
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            mode: watch::Sender::new(Mode::Open),
            plan: Mutex::new(Plan::Nothing),
            cuts: watch::Sender::new(0),
            taken: AtomicUsize::new(0),
            losses: AtomicUsize::new(0),
            open: watch::Sender::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, _accepting: accepting }
    }

    /// Returns the URL of a database through the proxy, without TLS, so that the proxy can read the
    /// messages.
    pub(crate) fn url(&self, url: &str) -> String {
        let (user, place) = url.split_once('@').expect("a URL with a user");
        let (_, database) = place.split_once('/').expect("a URL with a database");
        format!("{user}@{}/{database}?sslmode=disable", self.address)
    }

    /// Sends new connections to `upstream`.
    pub(crate) fn redirect(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().expect("a lock") = upstream;
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Cuts `count` connections exactly at a COMMIT, with `spacing` COMMITs between two cuts.
    pub(crate) fn cut_at_commits(&self, mut random: Random, count: usize, spacing: Range<usize>) {
        let pass = random.within(spacing.clone());
        self.plan(Plan::Commits { random, pass, spacing, left: count });
    }

    /// Ends the next `count` connections, each after some bytes of its client.
    pub(crate) fn cut_at_bytes(&self, random: Random, count: usize, budget: Range<usize>) {
        self.plan(Plan::Bytes { random, budget, left: count });
    }

    /// Makes all existing connections half-open until they end. New ones are not affected.
    pub(crate) fn lose(&self) {
        self.shared.losses.fetch_add(1, Ordering::Relaxed);
    }

    fn plan(&self, plan: Plan) {
        *self.shared.plan.lock().expect("a lock") = plan;
    }

    /// Counts the connections that were cut.
    pub(crate) fn cuts(&self) -> watch::Receiver<usize> {
        self.shared.cuts.subscribe()
    }

    /// The total number of accepted connections.
    pub(crate) fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// The number of connections that the other side has not closed.
    pub(crate) fn open(&self) -> watch::Receiver<usize> {
        self.shared.open.subscribe()
    }
}

impl Shared {
    /// Returns what to do with a COMMIT.
    fn at_commit(&self) -> Option<CommitCut> {
        self.plan.lock().expect("a lock").at_commit()
    }

    /// Returns after how many bytes a direction of a connection ends, if the plan has not changed
    /// by then.
    fn budget(&self) -> Option<usize> {
        self.plan.lock().expect("a lock").budget()
    }

    /// Returns what to do with a connection whose budget is used up.
    fn at_limit(&self) -> Option<ByteCut> {
        let cut = self.plan.lock().expect("a lock").at_limit()?;
        self.count();
        Some(cut)
    }

    fn count(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    let shared = Arc::clone(&shared);
                    shared.taken.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(async move {
                        shared.open.send_modify(|open| *open += 1);
                        // The two sides see how it ends.
                        let _ = serve(client, &shared).await;
                        shared.open.send_modify(|open| *open -= 1);
                    });
                }
            }
            // So that ended connections do not accumulate.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Moves bytes between a client and the server until one of them, or the plan, ends it.
async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mode = shared.mode.subscribe();
    if *mode.borrow() == Mode::Closed {
        return Ok(());
    }
    let upstream = *shared.upstream.lock().expect("a lock");
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let losses = shared.losses.load(Ordering::Relaxed);
    let link = Link { shared, losses, answers: watch::Sender::new(Answers::Pass) };
    let mut closed = mode.clone();
    tokio::select! {
        ended = link.forward(from_client, to_server, mode.clone()) => ended,
        ended = link.answer(from_server, to_client, mode) => ended,
        _ = closed.wait_for(|mode| *mode == Mode::Closed) => Ok(()),
    }
}

/// A connection, shared by its two directions.
struct Link<'a> {
    shared: &'a Shared,
    /// How often connections had been lost when it began.
    losses: usize,
    answers: watch::Sender<Answers>,
}

impl Link<'_> {
    /// Moves the client's bytes, until the plan ends it.
    async fn forward(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        mut mode: watch::Receiver<Mode>,
    ) -> io::Result<()> {
        let mut frames = Frames::default();
        let mut budget = None;
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                if *self.answers.borrow() == Answers::Pass {
                    // The other half may still have bytes to send.
                    to.shutdown().await?;
                }
                return std::future::pending().await;
            }
            self.lose_in(*mode.borrow());
            if *self.answers.borrow() != Answers::Pass {
                continue;
            }
            let bytes = &buffer[..count];
            if let Some(cut) = self.spend(&mut budget, bytes, &mut to).await? {
                return self.cut(cut).await;
            }
            // Of two COMMITs in one chunk only the first is seen, which is rare.
            if let Some(end) = frames.feed(bytes)
                && let Some(cut) = self.shared.at_commit()
            {
                return self.cut_commit(cut, &bytes[..end], &mut to).await;
            }
            pass(&mut to, bytes, &mut mode).await?;
        }
    }

    /// Moves the server's bytes, until they must be lost.
    async fn answer(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        mut mode: watch::Receiver<Mode>,
    ) -> io::Result<()> {
        let mut budget = None;
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            self.lose_in(*mode.borrow());
            if *self.answers.borrow() != Answers::Pass {
                self.answers.send_replace(Answers::Vanished);
                continue;
            }
            let bytes = &buffer[..count];
            if let Some(cut) = self.spend(&mut budget, bytes, &mut to).await? {
                return self.cut(cut).await;
            }
            pass(&mut to, bytes, &mut mode).await?;
        }
    }

    /// In and after a half-open time, no bytes are passed on.
    fn lose_in(&self, mode: Mode) {
        let lost = self.shared.losses.load(Ordering::Relaxed) > self.losses;
        if mode == Mode::HalfOpen || lost {
            self.answers.send_replace(Answers::Vanish);
        }
    }

    /// Takes bytes from a budget. If it is too small, only that many bytes are written, and the
    /// connection ends.
    async fn spend(
        &self,
        budget: &mut Option<usize>,
        bytes: &[u8],
        to: &mut OwnedWriteHalf,
    ) -> io::Result<Option<ByteCut>> {
        // A connection that is older than the plan gets a budget too.
        let Some(left) = budget.or_else(|| self.shared.budget()) else { return Ok(None) };
        *budget = left.checked_sub(bytes.len());
        if budget.is_some() {
            return Ok(None);
        }
        let cut = self.shared.at_limit();
        if cut.is_some() {
            to.write_all(&bytes[..left]).await?;
        }
        Ok(cut)
    }

    async fn cut(&self, cut: ByteCut) -> io::Result<()> {
        match cut {
            ByteCut::Closed => Ok(()),
            ByteCut::HalfOpen => {
                self.answers.send_replace(Answers::Vanish);
                std::future::pending().await
            }
        }
    }

    /// Ends a connection at the COMMIT at the end of `bytes`.
    async fn cut_commit(&self, cut: CommitCut, bytes: &[u8], to: &mut OwnedWriteHalf) -> io::Result<()> {
        self.answers.send_replace(Answers::Vanish);
        match cut {
            // A message without its last byte has no effect.
            CommitCut::Before => to.write_all(&bytes[..bytes.len() - 1]).await?,
            CommitCut::Racing => to.write_all(bytes).await?,
            CommitCut::After => {
                to.write_all(bytes).await?;
                let mut vanished = self.answers.subscribe();
                let vanished = vanished.wait_for(|answers| *answers == Answers::Vanished);
                // If the answer takes longer, the connection is cut as well: then the outcome is
                // open.
                let _ = tokio::time::timeout(ANSWER, vanished).await;
            }
        }
        self.shared.count();
        Ok(())
    }
}

/// Writes at the speed of the mode.
async fn pass(to: &mut OwnedWriteHalf, bytes: &[u8], mode: &mut watch::Receiver<Mode>) -> io::Result<()> {
    if *mode.borrow() == Mode::BlackHole {
        // Lost bytes are not delivered later, so the connection ends with the black hole.
        mode.wait_for(|mode| *mode != Mode::BlackHole).await.map_err(io::Error::other)?;
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    if *mode.borrow() != Mode::Slow {
        return to.write_all(bytes).await;
    }
    for piece in bytes.chunks(SLOW.0) {
        to.write_all(piece).await?;
        tokio::time::sleep(SLOW.1).await;
    }
    Ok(())
}
