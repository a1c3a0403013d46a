//! A problem at the start is reported at once, with what to do about it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use crm_testkit::{Program, Server, command, run};

use super::client::Client;
use super::scratch;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

#[test]
fn a_port_that_is_taken_is_named_and_no_postgres_is_made() {
    let scratch = scratch();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = run(&scratch, &["--listen", &address, "--data-dir", text(&scratch.data_dir())]);
    ended.refused(&[&address, "--listen"]);
    assert!(!scratch.data_dir().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_address_that_others_reach_needs_consent() {
    let scratch = scratch();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let ended = run(&scratch, &["--listen", address, "--data-dir", text(&scratch.data_dir())]);
        ended.refused(&[address, "--trust-tenant-header", "--listen 127.0.0.1"]);
    }
    assert!(!scratch.data_dir().exists());
    let arguments = ["--listen", "0.0.0.0:0", "--trust-tenant-header", "--ephemeral"];
    let server = Server::of(Program::spawn(command(&scratch, &arguments)));
    assert!(server.address.ip().is_unspecified());
    let local = (Ipv4Addr::LOCALHOST, server.address.port()).into();
    Client::connect(local).await.create_customer("Café Zoë").await;
    server.terminate().succeeded();
}

#[test]
fn a_second_process_on_a_data_directory_is_told_of_the_first() {
    let scratch = scratch();
    let server = Server::start(&scratch);
    let data_dir = scratch.data_dir();
    let first = server.program.pid().as_raw_pid().to_string();
    for arguments in [&["--listen", "127.0.0.1:0"][..], &["migrate"]] {
        let arguments = [arguments, &["--data-dir", text(&data_dir)]].concat();
        let words = run(&scratch, &arguments);
        words.refused(&[text(&data_dir), &first, "--data-dir"]);
    }
    server.terminate().succeeded();
}

#[test]
fn a_data_directory_that_cannot_be_is_named() {
    let scratch = scratch();
    let file = scratch.path("file");
    fs::write(&file, "no directory").expect("a file");
    for place in [file.clone(), file.join("below")] {
        let ended = run(&scratch, &["--listen", "127.0.0.1:0", "--data-dir", text(&place)]);
        ended.refused(&[text(&place), "--data-dir"]);
    }
    assert_eq!(fs::read_to_string(&file).expect("a file"), "no directory");
}

#[test]
fn a_directory_without_postgres_is_named() {
    let scratch = scratch();
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("a directory");
    let ended = run(
        &scratch,
        &[
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            text(&scratch.data_dir()),
            "--postgres-bin-dir",
            text(&empty),
        ],
    );
    ended.refused(&[text(&empty), "--postgres-bin-dir"]);
}

/// Far less than a person waits, and far more than a refused connection takes.
const SECONDS: Duration = Duration::from_secs(15);

#[test]
fn a_database_that_is_not_there_is_named_without_its_password() {
    let scratch = scratch();
    for command in [&["--listen", "127.0.0.1:0"][..], &["migrate"]] {
        let url = "postgres://crm:hunter2@127.0.0.1:1/crm";
        let ended = run(&scratch, &[command, &["--database-url", url]].concat());
        let words = ended.refused(&["127.0.0.1:1/crm", "DATABASE_URL"]);
        assert!(!words.contains("hunter2"), "{words}");
        assert!(ended.took < SECONDS, "{:?}", ended.took);
    }
}

/// The host accepts connections and sends nothing, as behind a firewall or with a stopped process.
#[test]
fn a_database_that_says_nothing_is_given_up() {
    let scratch = scratch();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let place = silent.local_addr().expect("an address");
    let url = format!("postgres://crm@{place}/crm");
    let ended = run(&scratch, &["--listen", "127.0.0.1:0", "--database-url", &url]);
    ended.refused(&[&place.to_string(), "DATABASE_URL"]);
    assert!(ended.took < SECONDS, "{:?}", ended.took);
}

#[test]
fn nonsense_for_a_url_is_refused_with_an_example() {
    let scratch = scratch();
    for nonsense in ["", "crm", "hunter2@db", "mysql://db/crm", "postgres://hunter2@db:port/crm"] {
        let ended = run(&scratch, &["--listen", "127.0.0.1:0", "--database-url", nonsense]);
        let words = ended.refused(&["DATABASE_URL", "postgres://user:password@host:5432/database"]);
        assert!(!words.contains("hunter2"), "{words}");
    }
}

#[test]
fn nonsense_for_a_log_filter_is_refused() {
    let scratch = scratch();
    run(&scratch, &["--ephemeral", "--log", "loud=very"]).refused(&["loud=very", "--log info"]);
}

#[test]
fn credentials_that_nobody_could_check_are_refused() {
    let scratch = scratch();
    let set = scratch.path("keys.json");
    fs::write(&set, r#"{"keys": []}"#).expect("a file");
    let secret = scratch.path("secret");
    fs::write(&secret, "short").expect("a file");
    let names = ["--jwt-issuer", "i", "--jwt-audience", "a"];
    let jwt = |more: &[&'static str]| [&["--auth", "jwt"], &names[..], more].concat();
    let missing = scratch.path("missing");
    for (arguments, file, mentions) in [
        (jwt(&["--jwt-jwks-file"]), Some(&set), vec!["--jwt-jwks-file", "no key"]),
        (jwt(&["--jwt-jwks-file"]), Some(&missing), vec!["--jwt-jwks-file", "missing"]),
        (jwt(&["--jwt-public-key"]), Some(&set), vec!["--jwt-public-key", "BEGIN PUBLIC KEY"]),
        (jwt(&["--jwt-algorithms", "HS256", "--jwt-secret-file"]), Some(&secret), vec!["5 bytes"]),
        (jwt(&["--jwt-jwks-url", "http://issuer.example/keys"]), None, vec!["https://"]),
        (jwt(&["--jwt-jwks-url", "http://127.0.0.1:1/keys"]), None, vec!["--jwt-jwks-url"]),
        (jwt(&[]), None, vec!["exactly one place"]),
        (vec!["--auth", "jwt"], None, vec!["--jwt-issuer"]),
        (vec!["--auth", "insecure,api-key"], None, vec!["insecure"]),
        (vec!["--auth", "api-key", "--trust-tenant-header"], None, vec!["--trust-tenant-header"]),
        (vec!["--auth", "mtls", "--mtls-principals"], Some(&set), vec!["--tls-client-ca"]),
        (vec!["--jwt-jwks-file"], Some(&set), vec!["--auth"]),
    ] {
        let file = file.map(|file| text(file));
        let arguments: Vec<_> = arguments.into_iter().chain(file).collect();
        let data_dir = scratch.data_dir();
        let place = ["--listen", "127.0.0.1:0", "--data-dir", text(&data_dir)];
        run(&scratch, &[&place[..], &arguments].concat()).refused(&mentions);
    }
    let open = ["--listen", "0.0.0.0:0", "--auth", "api-key"];
    run(&scratch, &open).refused(&["--tls-cert", "--allow-plaintext"]);
    assert!(!scratch.data_dir().exists(), "nothing was started before");
}
