//! The program starts without settings, stops, and starts again.

use crm_testkit::{Program, Server, command};

use super::client::Client;
use super::scratch;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn data_is_kept_between_runs() {
    let scratch = scratch();
    let server = Server::start(&scratch);
    let tenant = uuid::Uuid::new_v4();
    let customer = Client::connect_as(server.address, tenant).await.create_customer("Café Zoë").await;
    let first = scratch.postgres();
    let ended = server.terminate();
    ended.succeeded();
    assert!(ended.stdout.contains("brought up to date: "), "{}", ended.stdout);
    assert!(first.is_gone());

    let server = Server::start(&scratch);
    let found = Client::connect_as(server.address, tenant).await.get_customer(&customer.id).await;
    assert_eq!(found.expect("a customer"), customer);
    let ended = server.terminate();
    ended.succeeded();
    assert!(ended.stdout.contains("up to date\n"), "{}", ended.stdout);
    assert!(scratch.leftovers().is_empty(), "{:?}", scratch.leftovers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ephemeral_keeps_nothing_and_leaves_no_directory() {
    let scratch = scratch();
    let tenant = uuid::Uuid::new_v4();
    let server = Server::start_with(&scratch, &["--ephemeral"]);
    Client::connect_as(server.address, tenant).await.create_customer("Café Zoë").await;
    assert_eq!(scratch.leftovers().len(), 1);
    server.terminate().succeeded();
    assert!(scratch.leftovers().is_empty(), "{:?}", scratch.leftovers());

    let arguments = ["serve", "--listen", "127.0.0.1:0", "--ephemeral"];
    let server = Server::of(Program::spawn(command(&scratch, &arguments)));
    let customers = Client::connect_as(server.address, tenant).await.list_customers().await;
    assert!(customers.is_empty());
    server.interrupt().succeeded();
    assert!(scratch.leftovers().is_empty(), "{:?}", scratch.leftovers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_killed_ephemeral_run_left_is_removed_by_the_next() {
    let scratch = scratch();
    Server::start_with(&scratch, &["--ephemeral"]).kill();
    let left = scratch.leftovers();
    assert_eq!(left.len(), 1);
    let server = Server::start_with(&scratch, &["--ephemeral"]);
    assert_eq!(scratch.leftovers().len(), 1);
    assert_ne!(scratch.leftovers(), left);
    server.terminate().succeeded();
    assert!(scratch.leftovers().is_empty(), "{:?}", scratch.leftovers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn settings_come_from_the_environment_as_well() {
    let scratch = scratch();
    let mut command = command(&scratch, &[]);
    command.env("CRM_LISTEN", "127.0.0.1:0").env("CRM_EPHEMERAL", "true");
    command.env("CRM_LOG_FORMAT", "json");
    let server = Server::of(Program::spawn(command));
    Client::connect(server.address).await.create_customer("Café Zoë").await;
    let ended = server.terminate();
    ended.succeeded();
    for line in ended.stderr.lines() {
        let event: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(event.is_ok(), "{line}");
    }
    assert!(ended.stderr.contains("the embedded Postgres runs"), "{}", ended.stderr);
}
