use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

/// The size of a message with its header.
const MESSAGE: usize = 100;

fn framed(bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes - HEADER).expect("short");
    let mut message = vec![0];
    message.extend(length.to_be_bytes());
    message.resize(bytes, 7);
    message
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A client that sends messages of one size, and a handler that answers them.
struct Client {
    meter: Meter,
    woken: Arc<Woken>,
    /// The bytes of its current message that it has sent.
    sent: usize,
    /// The number of complete messages that are not taken; and of taken ones that are not answered.
    whole: usize,
    unanswered: usize,
    /// How often it had been woken when it began to wait.
    waits: Option<usize>,
}

impl Client {
    fn new(room: &Room, tenant: u128) -> Self {
        let meter = room.stream(Uuid::from_u128(tenant));
        Self { meter, woken: Arc::default(), sent: 0, whole: 0, unanswered: 0, waits: None }
    }

    /// Sends up to this many bytes if it may.
    fn send(&mut self, bytes: usize) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        let waits = self.meter.poll_may_read(&Context::from_waker(&waker)).is_pending();
        self.waits = waits.then(|| woken(self));
        if !waits {
            let bytes = bytes.min(MESSAGE - self.sent);
            self.meter.read_on(&framed(MESSAGE)[self.sent..self.sent + bytes]);
            self.sent += bytes;
            if self.sent == MESSAGE {
                (self.sent, self.whole) = (0, self.whole + 1);
            }
        }
        !waits
    }

    /// Whether it would check again whether it may send: it does not wait, or was woken.
    fn looks(&self) -> bool {
        self.waits.is_none_or(|before| woken(self) > before)
    }

    fn take(&mut self) {
        for _ in 0..std::mem::take(&mut self.whole) {
            self.meter.take();
            self.unanswered += 1;
        }
        self.meter.hold(self.unanswered * MESSAGE);
    }

    fn answer(&mut self) {
        self.unanswered = 0;
        self.meter.hold(0);
    }
}

fn held(room: &Room) -> usize {
    room.taken().all.bytes
}

proptest! {
    #[test]
    fn whatever_streams_do_what_they_hold_is_bounded_and_all_is_answered_in_the_end(
        steps in proptest::collection::vec((0..6_usize, 1..70_usize, 0..3_u8), 0..300),
    ) {
        let (of_tenant, frame) = (3 * MESSAGE / 2, 70);
        let room = Room::new(3 * MESSAGE, of_tenant);
        let mut clients: Vec<_> = (0..6).map(|number| Client::new(&room, number % 2)).collect();
        for (client, bytes, what) in steps {
            match what {
                0 => clients[client].answer(),
                1 => clients[client].take(),
                _ => {
                    clients[client].send(bytes);
                }
            }
            prop_assert!(held(&room) <= 2 * (of_tenant + MESSAGE + frame));
        }
        // From here on every stream sends the rest of its message once it may.
        let mut rounds = 0;
        while clients.iter().any(|client| client.sent + client.whole + client.unanswered > 0) {
            for client in &mut clients {
                if client.sent > 0 && client.looks() {
                    client.send(MESSAGE);
                }
                client.take();
                client.answer();
            }
            rounds += 1;
            prop_assert!(rounds < 20, "streams wait for each other");
        }
        prop_assert_eq!(held(&room), 0);
        drop(clients);
        prop_assert!(room.taken().tenants.is_empty());
    }
}

/// How often a client was woken.
fn woken(client: &Client) -> usize {
    client.woken.0.load(Ordering::SeqCst)
}

#[test]
fn a_stream_that_reads_on_in_its_turn_does_so_also_while_another_has_a_whole_message() {
    let room = Room::new(10 * MESSAGE, MESSAGE);
    let (mut one, mut two) = (Client::new(&room, 1), Client::new(&room, 1));
    assert!(one.send(MESSAGE));
    assert!(!two.send(1));
    let (mut three, mut four) = (Client::new(&room, 2), Client::new(&room, 2));
    assert!(three.send(MESSAGE - 1) && four.send(MESSAGE) && three.send(0));
    four.take();
    assert!(three.send(1), "its turn lasts until its message is whole");
    three.take();
    assert!(!three.send(1));
}

#[test]
fn a_stream_that_waits_is_woken_also_where_another_that_was_woken_does_not_read() {
    let room = Room::new(10 * MESSAGE, MESSAGE);
    let (mut one, mut two, mut three) = (Client::new(&room, 1), Client::new(&room, 1), Client::new(&room, 1));
    assert!(one.send(MESSAGE));
    one.take();
    assert!(!two.send(1) && !three.send(1));
    one.answer();
    assert_eq!((woken(&two), woken(&three)), (1, 1));
    assert!(three.send(MESSAGE));
    three.take();
    assert!(!two.send(1));
    drop(three);
    assert_eq!(woken(&two), 2);
    assert!(two.send(MESSAGE));
    assert_eq!(held(&room), MESSAGE);
}

#[test]
fn streams_that_wait_are_woken_when_a_quarter_is_free_again_and_not_for_every_answer() {
    let room = Room::new(100 * MESSAGE, 8 * MESSAGE);
    let mut busy: Vec<_> = (0..8).map(|_| Client::new(&room, 1)).collect();
    for client in &mut busy {
        assert!(client.send(MESSAGE));
        client.take();
    }
    let mut waits = Client::new(&room, 1);
    assert!(!waits.send(1));
    busy[0].answer();
    assert_eq!(woken(&waits), 0);
    assert!(!waits.send(1), "not before a quarter is free");
    busy[1].answer();
    assert_eq!(woken(&waits), 1);
    assert!(waits.send(1));
}

#[test]
fn a_tenant_at_its_limit_keeps_no_other_from_reading() {
    let room = Room::new(4 * MESSAGE, 2 * MESSAGE);
    let mut busy = Client::new(&room, 1);
    while busy.send(MESSAGE) {
        busy.take();
    }
    assert_eq!(held(&room), 2 * MESSAGE);
    assert!(Client::new(&room, 2).send(MESSAGE));
}

#[test]
fn where_all_is_taken_a_tenant_without_anything_reads_one_message() {
    let room = Room::new(2 * MESSAGE, 2 * MESSAGE);
    let mut busy = Client::new(&room, 1);
    while busy.send(MESSAGE) {
        busy.take();
    }
    let (mut calm, mut other) = (Client::new(&room, 2), Client::new(&room, 2));
    assert!(calm.send(10));
    assert!(!other.send(10));
    assert!(calm.send(MESSAGE));
    calm.take();
    assert!(!calm.send(10) && !other.send(10));
    calm.answer();
    assert!(other.send(10));
}
