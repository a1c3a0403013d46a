//! Overload by one client does not affect another client.

use crm_testkit::Server;

use super::client::{Client, Unread};
use super::scratch;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_that_is_not_read_holds_up_no_other_call_of_its_connection() {
    let scratch = scratch();
    let server = Server::start_with(&scratch, &["--ephemeral", "--drain", "300"]);
    let tenant = uuid::Uuid::new_v4();
    let mut client = Client::connect_as(server.address, tenant).await;
    let mut observer = Client::connect_as(server.address, tenant).await;
    let conversation_id = client.create_conversation().await;
    let unread = Unread::open(&mut client, &conversation_id).await;
    unread.is_held_back(&mut observer, &conversation_id).await;
    let count = client.count_messages(&conversation_id).await;
    assert!(count.is_ok(), "{count:?}");
    drop(unread);
    server.terminate().succeeded();
}
