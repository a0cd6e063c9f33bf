//! Downstreams in processes of their own.

use axum::Router;
use bytes::Bytes;

use crate::machine::raise_open_files;

/// Prints its origin and says yes to everybody.
pub async fn serve_yes() {
    serve(Router::new().fallback(|_: Bytes| async { "yes" })).await;
}

/// Prints its origin, takes every call and answers none. Prints a line for each hundred that have come.
pub async fn serve_silence() {
    raise_open_files();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("bound"));
    let mut held = Vec::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        held.push(stream);
        if held.len().is_multiple_of(100) {
            println!("{}", held.len());
        }
    }
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
