//! A relay to Postgres that counts the bytes of the answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Relays connections until it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    read: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Relay {
    /// Starts a relay to this address.
    pub(crate) async fn to(place: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let read = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        task.spawn(serve(listener, place, Arc::clone(&read)));
        Self { address, read, _task: task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the bytes of answers since the last call.
    pub(crate) fn take_read(&self) -> u64 {
        self.read.swap(0, Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, place: SocketAddr, read: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let read = Arc::clone(&read);
        connections.spawn(async move {
            let server = TcpStream::connect(place).await.expect("Postgres listens");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let answers = async {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(bytes @ 1..) = from_server.read(&mut buffer).await {
                    read.fetch_add(bytes as u64, Ordering::SeqCst);
                    if to_client.write_all(&buffer[..bytes]).await.is_err() {
                        return;
                    }
                }
            };
            // The end of either side ends both.
            tokio::select! {
                () = answers => {}
                _ = copy(&mut from_client, &mut to_server) => {}
            }
        });
    }
}
