//! `keys`: API keys, as an operator creates and revokes them.

use std::path::Path;

use crm_backend::pb::ListCustomersRequest;
use crm_backend::pb::customer_service_client::CustomerServiceClient;
use crm_contract::CallerMetadata;
use crm_testkit::cluster::Database;
use crm_testkit::{Ended, Scratch, Server, run, within};
use tonic::Code;
use uuid::Uuid;

use super::scratch;

/// The arguments that name the database of the keys.
struct Place(Vec<String>);

impl Place {
    fn own(data_dir: &Path) -> Self {
        Self(vec!["--data-dir".to_owned(), data_dir.to_str().expect("a path of letters").to_owned()])
    }

    fn of(database: &Database) -> Self {
        Self(vec!["--database-url".to_owned(), database.url()])
    }

    fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn keys(&self, scratch: &Scratch, arguments: &[&str]) -> Ended {
        let arguments: Vec<_> =
            ["keys"].into_iter().chain(arguments.iter().copied()).chain(self.arguments()).collect();
        run(scratch, &arguments)
    }

    /// Creates a key, and returns its secret and its id.
    fn create(&self, scratch: &Scratch, arguments: &[&str]) -> (String, String) {
        let ended = self.keys(scratch, &[&["create", "--name", "Zoë's worker"], arguments].concat());
        ended.succeeded();
        let secret = ended.stdout.strip_suffix('\n').expect("a line");
        assert!(secret.starts_with("crm_") && !secret.contains(char::is_whitespace), "{secret:?}");
        assert!(!ended.stderr.contains(secret), "the secret is told once");
        let id = ended.stderr.lines().find_map(|line| line.strip_prefix("id ")).expect("the id");
        (secret.to_owned(), id.trim().to_owned())
    }

    /// Returns the line of the list for a key.
    fn listed(&self, scratch: &Scratch, id: &str) -> String {
        let ended = self.keys(scratch, &["list"]);
        ended.succeeded();
        assert!(ended.stdout.starts_with("ID "), "{}", ended.stdout);
        ended.stdout.lines().find(|line| line.starts_with(id)).expect("a line").to_owned()
    }

    fn serve(&self, scratch: &Scratch) -> Server {
        let arguments: Vec<_> = ["--auth", "api-key"].into_iter().chain(self.arguments()).collect();
        Server::start_with(scratch, &arguments)
    }
}

/// Returns the code of a tenant's call with this credential.
async fn call(server: &Server, tenant: Uuid, secret: &str) -> Code {
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = within(endpoint.connect()).await.expect("a connection");
    let caller =
        CallerMetadata::of_tenant(&tenant.to_string()).and_then(|caller| caller.with_credential(secret));
    let mut client = CustomerServiceClient::with_interceptor(channel, caller.expect("headers"));
    within(client.list_customers(ListCustomersRequest::default()))
        .await
        .map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn a_key_lives_and_ends_while_the_service_runs(place: &Place, scratch: &Scratch) {
    let tenant = Uuid::new_v4();
    let tenants = tenant.to_string();
    // Before the first start, and while it runs.
    let (first, _) = place.create(scratch, &["--tenants", "*", "--never-expires"]);
    let server = place.serve(scratch);
    let (second, id) =
        place.create(scratch, &["--tenants", &tenants, "--scopes", "read,write", "--expires-in", "1h"]);
    assert_ne!(first, second);
    assert_eq!(call(&server, tenant, &first).await, Code::Ok);
    assert_eq!(call(&server, tenant, &second).await, Code::Ok);
    assert_eq!(call(&server, Uuid::new_v4(), &second).await, Code::PermissionDenied);
    let line = place.listed(scratch, &id);
    assert!(
        line.contains("Zoë's worker") && line.contains(&tenants) && line.contains("read,write"),
        "{line}"
    );
    assert!(!line.contains(&second[4..]), "{line}");
    place.keys(scratch, &["revoke", &id]).succeeded();
    let revoked = place.listed(scratch, &id);
    assert!(!revoked.ends_with(" -") && revoked != line, "{revoked}");
    place.keys(scratch, &["revoke", &id]).succeeded();
    assert_eq!(
        place.listed(scratch, &id).rsplit(' ').next(),
        revoked.rsplit(' ').next(),
        "the first time counts"
    );
    let mut answer = Code::Ok;
    for _ in 0..100 {
        answer = call(&server, tenant, &second).await;
        if answer != Code::Ok {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(answer, Code::Unauthenticated);
    assert_eq!(call(&server, tenant, &first).await, Code::Ok);
    let ended = server.terminate();
    ended.succeeded();
    for secret in [first, second] {
        assert!(!ended.stdout.contains(&secret) && !ended.stderr.contains(&secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn keys_are_made_and_revoked_in_the_services_own_postgres() {
    let scratch = scratch();
    let place = Place::own(&scratch.data_dir());
    a_key_lives_and_ends_while_the_service_runs(&place, &scratch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn keys_are_made_and_revoked_in_a_database_of_somebody_else() {
    let scratch = scratch();
    let database = Database::new().await;
    a_key_lives_and_ends_while_the_service_runs(&Place::of(&database), &scratch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_grants_little_and_ends_unless_told_otherwise() {
    let scratch = scratch();
    let database = Database::new().await;
    let place = Place::of(&database);
    let (_, id) = place.create(&scratch, &["--tenants", "*"]);
    let line = place.listed(&scratch, &id);
    let cells: Vec<_> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let &[_, _, tenants, scopes, created, expires, last_used, revoked] = cells.as_slice() else {
        panic!("not eight cells: {line}")
    };
    assert_eq!((tenants, scopes, last_used, revoked), ("*", "read", "-", "-"));
    let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).expect("a time");
    assert_eq!((time(expires) - time(created)).num_days(), 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_key_is_refused_in_words() {
    let scratch = scratch();
    let database = Database::new().await;
    let place = Place::of(&database);
    let unknown = Uuid::now_v7().to_string();
    place.keys(&scratch, &["revoke", &unknown]).refused(&[&unknown, "keys list"]);
    let ephemeral = run(&scratch, &["keys", "list", "--ephemeral"]);
    ephemeral.refused(&["--ephemeral"]);
    let named = ["create", "--name", "a"];
    for arguments in [
        &["create", "--tenants", "*"][..],
        &named,
        &[&named[..], &["--tenants", "x"]].concat(),
        &[&named[..], &["--tenants", "*", "--scopes", "all"]].concat(),
        &[&named[..], &["--tenants", "*", "--expires-in", "0d"]].concat(),
        &[&named[..], &["--tenants", "*", "--expires-in", "1d", "--never-expires"]].concat(),
        &["revoke", "x"],
        &[],
    ] {
        let ended = place.keys(&scratch, arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    }
}
