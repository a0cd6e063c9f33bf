//! Downstreams in processes of their own.

use std::time::Duration;

use axum::Router;
use bytes::Bytes;

use crate::machine::raise_open_files;
use crate::table::number;

/// Prints its origin and says yes to everybody.
pub async fn serve_yes() {
    serve(Router::new().fallback(|_: Bytes| async { "yes" })).await;
}

/// How long no further call may come before no more is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints its origin, takes as many calls as the environment says and answers none. When they have come, or no more come,
/// it prints how many there are.
pub async fn serve_silence() {
    raise_open_files();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("bound"));
    let (mut held, count) = (Vec::new(), number("COUNT").expect("said"));
    while held.len() < count
        && let Ok(Ok((stream, _))) = tokio::time::timeout(PATIENCE, listener.accept()).await
    {
        held.push(stream);
    }
    println!("{}", held.len());
    std::future::pending().await
}

async fn serve(router: Router) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("bound"));
    axum::serve(listener, router).await.expect("it serves");
}

/// One in this process. Its origin.
pub async fn here(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    origin
}
