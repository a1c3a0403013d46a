use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

type Wait = Pin<Box<dyn Future<Output = Result<Turn, Full>>>>;

fn tenant(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Callers of several tenants, in the order in which they came.
struct Callers {
    turns: Turns,
    waits: Vec<(Uuid, Wait)>,
    held: Vec<Turn>,
}

impl Callers {
    fn new(room: Room) -> Self {
        Self { turns: Turns::new(room), waits: Vec::new(), held: Vec::new() }
    }

    /// Adds one caller; returns whether it may wait.
    fn come(&mut self, tenant: Uuid) -> bool {
        let turns = self.turns.clone();
        let mut wait: Wait = Box::pin(async move { turns.take(tenant).await });
        match poll(&mut wait) {
            Poll::Ready(Ok(turn)) => self.held.push(turn),
            Poll::Ready(Err(Full)) => return false,
            Poll::Pending => self.waits.push((tenant, wait)),
        }
        true
    }

    /// Returns the tenants whose callers have got a place meanwhile.
    fn served(&mut self) -> Vec<Uuid> {
        let mut served = Vec::new();
        for (tenant, mut wait) in std::mem::take(&mut self.waits) {
            match poll(&mut wait) {
                Poll::Ready(turn) => {
                    self.held.push(turn.expect("a caller that waits is served"));
                    served.push(tenant);
                }
                Poll::Pending => self.waits.push((tenant, wait)),
            }
        }
        served
    }

    /// Frees the first place that the tenant took.
    fn leave(&mut self, tenant: Uuid) {
        let index = self.held.iter().position(|turn| turn.tenant == tenant).expect("it has a place");
        drop(self.held.remove(index));
    }

    fn held_by(&self, tenant: Uuid) -> usize {
        self.held.iter().filter(|turn| turn.tenant == tenant).count()
    }
}

fn poll(wait: &mut Wait) -> Poll<Result<Turn, Full>> {
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_tenant_with_a_thousand_callers_keeps_another_waiting_for_one_place_only() {
    let mut callers = Callers::new(Room { places: 4, share: 4, waiting: 1_000 });
    for _ in 0..1_004 {
        assert!(callers.come(tenant(1)));
    }
    assert!(callers.come(tenant(2)));
    callers.leave(tenant(1));
    assert_eq!(callers.served(), [tenant(2)]);
}

#[test]
fn a_tenant_has_its_share_and_no_more() {
    let mut callers = Callers::new(Room { places: 4, share: 2, waiting: 8 });
    for _ in 0..8 {
        callers.come(tenant(1));
    }
    assert_eq!(callers.held_by(tenant(1)), 2);
    assert!(callers.come(tenant(2)));
    assert_eq!(callers.held_by(tenant(2)), 1, "at once");
}

#[test]
fn a_caller_too_many_is_refused_at_once() {
    let mut callers = Callers::new(Room { places: 1, share: 1, waiting: 2 });
    assert_eq!([(); 4].map(|()| callers.come(tenant(1))), [true, true, true, false]);
    assert!(callers.come(tenant(2)), "another tenant has callers of its own");
}

#[test]
fn callers_of_a_tenant_are_served_in_their_order_and_tenants_in_turns() {
    let mut callers = Callers::new(Room { places: 1, share: 1, waiting: 9 });
    for number in [9, 1, 1, 1, 2, 2, 3] {
        callers.come(tenant(number));
    }
    let mut order = Vec::new();
    let mut last = tenant(9);
    while !callers.waits.is_empty() {
        callers.leave(last);
        order.extend(callers.served());
        last = *order.last().expect("somebody is served");
    }
    assert_eq!(order, [1, 2, 3, 1, 2, 1].map(tenant));
}

#[test]
fn a_caller_that_has_left_takes_no_place() {
    let mut callers = Callers::new(Room { places: 1, share: 1, waiting: 9 });
    for number in [1, 2, 3] {
        callers.come(tenant(number));
    }
    // One caller leaves while it waits, and one after it was given a place.
    drop(callers.waits.remove(0));
    callers.leave(tenant(1));
    callers.waits.clear();
    assert!(callers.come(tenant(4)));
    assert_eq!(callers.held_by(tenant(4)), 1, "the place is free");
    callers.leave(tenant(4));
    assert!(callers.turns.shared.with(|state| state.tenants.is_empty()), "idle tenants are forgotten");
}

#[derive(Debug, Clone)]
enum Step {
    Come(u128),
    Leave(prop::sample::Index),
    GiveUp(prop::sample::Index),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4u128).prop_map(Step::Come),
        3 => any::<prop::sample::Index>().prop_map(Step::Leave),
        2 => any::<prop::sample::Index>().prop_map(Step::GiveUp),
        2 => Just(Step::Look),
    ]
}

proptest! {
    /// In every sequence of steps no place is lost or taken twice, and shares and limits hold. No caller waits for a
    /// place that it may have. A tenant gets a second place only if no tenant without a place waits.
    #[test]
    fn places_are_shared(
        (places, share, waiting) in (1..5usize, 1..5usize, 0..6usize),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut callers = Callers::new(Room { places, share, waiting });
        for step in steps {
            match step {
                Step::Come(number) => {
                    let waits = callers.waits.iter().filter(|(waits, _)| *waits == tenant(number)).count();
                    let came = callers.come(tenant(number));
                    prop_assert!(came || waits >= waiting);
                }
                Step::Leave(index) if !callers.held.is_empty() => {
                    drop(callers.held.swap_remove(index.index(callers.held.len())));
                    // A freed place goes to a tenant with the fewest places among those that waited.
                    let waited: BTreeSet<Uuid> = callers.waits.iter().map(|(tenant, _)| *tenant).collect();
                    let fewest = waited.iter().map(|tenant| callers.held_by(*tenant)).min();
                    for served in callers.served() {
                        prop_assert_eq!(Some(callers.held_by(served) - 1), fewest);
                    }
                }
                Step::GiveUp(index) if !callers.waits.is_empty() => {
                    drop(callers.waits.swap_remove(index.index(callers.waits.len())));
                }
                Step::Look => drop(callers.served()),
                Step::Leave(_) | Step::GiveUp(_) => {}
            }
            callers.served();
            prop_assert!(callers.held.len() <= places);
            for number in 0..4 {
                prop_assert!(callers.held_by(tenant(number)) <= share);
            }
            if callers.held.len() < places {
                for (waits, _) in &callers.waits {
                    prop_assert_eq!(callers.held_by(*waits), share, "it waits for a place that is free");
                }
            }
            let state = callers.turns.shared.state.lock().expect("no panic");
            prop_assert_eq!(state.taken, callers.held.len());
            let waits: usize = state.tenants.values().map(|tenant| tenant.waiting.len()).sum();
            prop_assert_eq!(waits, callers.waits.len());
        }
        callers.waits.clear();
        callers.held.clear();
        let state = callers.turns.shared.state.lock().expect("no panic");
        prop_assert!(state.tenants.is_empty() && state.next.is_empty() && state.taken == 0);
    }
}
