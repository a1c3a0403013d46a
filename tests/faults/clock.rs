//! The service's clock jumps. Linux only: elsewhere a program's clock cannot be shifted so simply, and the scenario
//! reports that it measured nothing.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crm_backend::pb;
use crm_testkit::cluster::Database;
use crm_testkit::{Scratch, within};
use uuid::Uuid;

use super::client::Client;
use super::run::{Run, Scenario};
use super::scratch;
use super::service::{Service, Setup};
use super::stage::{Cast, Play};

/// The source of the library that is loaded into the service.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/clock/shift.c");

/// How far the clock jumps.
const HOUR: i64 = 60 * 60;

/// The maximum number of answers between two jumps.
const ANSWERS: usize = 200;

pub(crate) const JUMPS: Scenario = Scenario {
    name: "clock",
    fault: "the clock of the service jumps by an hour, back and forth",
    promised: "order is by sequence, never by clock; 0 lost over 100 jumps",
    play: |run| Box::pin(jump(run)),
};

/// The shift of the clock, in a file that the service reads with every look at its clock.
struct Shift(PathBuf);

impl Shift {
    fn new(scratch: &Scratch) -> Self {
        let shift = Self(scratch.path("shift"));
        shift.set(0);
        shift
    }

    /// The file is written in place, because the service has mapped it.
    fn set(&self, seconds: i64) {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.0);
        file.and_then(|mut file| file.write_all(&seconds.to_ne_bytes())).expect("a file");
    }
}

/// Compiles the library that shifts the clock.
fn compile(scratch: &Scratch) -> PathBuf {
    let library = scratch.path("shift.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(SOURCE).arg("-ldl");
    let output = compiler.output().expect("a C compiler, as `cc`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

fn setup(url: &str, library: &Path, shift: &Shift) -> Setup {
    Setup::of(url).variable("LD_PRELOAD", library).variable("CLOCK_SHIFT_FILE", &shift.0)
}

/// A client whose conversation begins before a jump and ends after it, and that repeats a request from before the
/// first jump.
struct Regular {
    client: Client,
    request_id: Uuid,
    customer_id: String,
    conversation: pb::Conversation,
}

impl Regular {
    async fn begin(service: &Service) -> Self {
        let mut client = Client::connect(service.address(), Uuid::new_v4()).await;
        let request_id = Uuid::new_v4();
        let customer_id = client.create_customer(request_id).await.expect("a customer");
        let conversation = client.create_conversation(&customer_id).await;
        Self { client, request_id, customer_id, conversation }
    }

    /// Ends the conversation from before the jump, and begins the next one. Returns by how many seconds the service's
    /// clock advanced.
    async fn go_on(&mut self) -> i64 {
        let again = self.client.create_customer(self.request_id).await.expect("a customer");
        assert_eq!(again, self.customer_id, "a retry answers what the first call answered");
        let request = pb::EndConversationRequest {
            id: self.conversation.id.clone(),
            status: pb::ConversationStatus::Ended.into(),
            ..Default::default()
        };
        let ended = within(self.client.conversations.end_conversation(request)).await.expect("an end");
        let ended = ended.into_inner().conversation.expect("a conversation");
        let [start, end] = [&ended.start_time, &ended.end_time].map(|time| time.expect("a time").seconds);
        assert!(end >= start, "it ended before it began");
        let next = self.client.create_conversation(&self.customer_id).await;
        let went = next.start_time.expect("a time").seconds - start;
        self.conversation = next;
        went
    }
}

async fn jump(mut run: Run) {
    if !cfg!(target_os = "linux") {
        run.say(&"not measured: this is not Linux");
        return;
    }
    let scratch = scratch();
    let (library, shift) = (compile(&scratch), Shift::new(&scratch));
    let database = Database::new().await;
    let service = Service::launch(setup(&database.url(), &library, &shift));
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let mut regular = Regular::begin(&service).await;
    let jumps = run.size.pick(6, 100);
    let mut back = 0;
    let mut shifted = 0;
    for _ in 0..jumps {
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        // An hour ahead, an hour behind, or unshifted, but always different from before.
        let places = [-HOUR, 0, HOUR];
        let others: Vec<i64> = places.into_iter().filter(|place| *place != shifted).collect();
        let next = *run.random.choose(&others);
        shift.set(next);
        let went = regular.go_on().await;
        let jumped = next - shifted;
        assert!((went - jumped).abs() < HOUR / 2, "a jump of {jumped} s was one of {went} s");
        back += usize::from(jumped < 0);
        shifted = next;
    }
    play.answers(ANSWERS).await;
    let figures = play.finish(service.address()).await;
    run.say(&format_args!("{jumps} jumps, {back} of them back; {figures}"));
    assert!(back > 0, "the clock never went back");
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_does_not_depend_on_the_clock() {
    JUMPS.short().await;
}
