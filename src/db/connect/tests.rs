use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;

/// What Postgres sends when it refuses a start: an error with a severity, a code and a text.
const REFUSAL: &[u8] = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0";

fn target(url: &str) -> Target {
    Target::parse(url).expect("a target")
}

#[test]
fn a_host_that_is_lost_shows_before_anybody_waits_for_it() {
    // Also if the URL says otherwise.
    let target = target("postgres://u@h/db?keepalives=0&tcp_user_timeout=0");
    assert!(target.settings.get_keepalives());
    let longest = target.settings.get_keepalives_idle()
        + target.settings.get_keepalives_interval().expect("an interval") * KEEPALIVE_RETRIES;
    let user_timeout = target.settings.get_tcp_user_timeout().copied().expect("a limit");
    assert!(longest.max(user_timeout + KEEPALIVE_IDLE) <= Duration::from_secs(15));
}

#[test]
fn the_place_has_no_password() {
    for (url, place) in [
        ("postgres://user:secret@db.example/crm", "db.example:5432/crm"),
        ("postgres://user:secret@a:1,[::1]:2/crm", "a:1,[::1]:2/crm"),
        ("host=a,/run port=1 password=secret dbname=crm", "a:1,/run:1/crm"),
    ] {
        assert_eq!(target(url).place(), place);
    }
}

#[test]
fn certificates_that_are_not_there_are_named() {
    let missing = Target::parse("postgres://db/crm?sslmode=verify-ca&sslrootcert=/does/not/exist");
    assert!(matches!(missing, Err(ConnectError::RootCertificates { path, .. }) if path == "/does/not/exist"));
}

#[test]
fn each_host_has_its_time_and_all_of_them_together() {
    for (url, each, all) in [
        ("postgres://a/db", 5, 5),
        ("postgres://a/db?connect_timeout=60", 5, 5),
        ("postgres://a/db?connect_timeout=1", 1, 1),
        ("postgres://a,b,c/db", 2, 6),
        ("postgres://a,b/db?connect_timeout=0", 2, 4),
        ("host=a,b connect_timeout=1", 1, 2),
    ] {
        let target = target(url);
        let seconds = (target.patience.as_secs(), target.patience().as_secs());
        assert_eq!(seconds, (each, all), "{url}");
    }
}

/// Listens, and sends nothing.
async fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A server that refuses every start.
struct Refusing {
    address: SocketAddr,
    /// How many starts it has refused.
    count: watch::Receiver<usize>,
    _accepting: JoinSet<()>,
}

async fn refusing() -> Refusing {
    let (listener, address) = silent().await;
    let (refused, count) = watch::channel(0);
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = stream.into_std().expect("a stream");
            let length = u32::try_from(REFUSAL.len() + 4).expect("a length");
            let answer = [b"E", &length.to_be_bytes()[..], REFUSAL].concat();
            stream.write_all(&answer).expect("room for an answer");
            refused.send_modify(|count| *count += 1);
        }
    });
    Refusing { address, count, _accepting: accepting }
}

async fn refusal(target: &Target) -> (String, Duration) {
    let began = Instant::now();
    let error = target.open_bare().await.err().expect("nobody takes it").to_string();
    (error, began.elapsed())
}

#[tokio::test]
async fn a_silent_host_is_left_for_the_next_and_tried_last_for_a_while() {
    let ((_listener, first), mut refusing) = (silent().await, refusing().await);
    let second = refusing.address;
    let target = target(&format!("postgres://u@{first},{second}/db?sslmode=disable"));
    let (error, took) = refusal(&target).await;
    assert!(EACH_HOST <= took && took < EACH_HOST * 2, "{took:?}");
    assert!(error.contains(&format!("{first}: no answer in 2s; {second}: ")), "{error}");
    assert!(error.contains("the database system is starting up"), "{error}");
    // Now the other host is asked first.
    let began = Instant::now();
    let asked = async {
        refusing.count.wait_for(|count| *count == 2).await.expect("it goes on");
        began.elapsed()
    };
    let ((error, _), asked) = tokio::join!(refusal(&target), asked);
    assert!(asked < EACH_HOST / 2, "{asked:?}");
    assert!(error.find(&second.to_string()) < error.find(&first.to_string()), "{error}");
}

#[tokio::test]
async fn the_time_of_the_url_counts_if_it_is_shorter() {
    let ((_first, first), (_second, second)) = (silent().await, silent().await);
    let target = target(&format!(
        "host={},{} port={},{} user=u connect_timeout=1",
        first.ip(),
        second.ip(),
        first.port(),
        second.port()
    ));
    let (error, took) = refusal(&target).await;
    assert!(Duration::from_secs(2) <= took && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(error.matches("no answer in 1s").count(), 2, "{error}");
}

#[tokio::test]
async fn a_random_order_begins_with_either() {
    let (first, second) = (refusing().await, refusing().await);
    let (one, other) = (first.address, second.address);
    let target = target(&format!("postgres://u@{one},{other}/db?sslmode=disable&load_balance_hosts=random"));
    let mut begun_with = std::collections::HashSet::new();
    // A chance of one in two: all 40 begin with the same host once in half a million million runs.
    for _ in 0..40 {
        let (error, _) = refusal(&target).await;
        begun_with.insert(error.find(&one.to_string()) < error.find(&other.to_string()));
    }
    assert_eq!(begun_with.len(), 2);
    assert_eq!((*first.count.borrow(), *second.count.borrow()), (40, 40), "each time both are asked");
}
