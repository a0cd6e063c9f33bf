//! Who asked, for log lines: while a request is answered its id and its token's id are at hand.

use std::future::Future;

use axum::http::HeaderValue;

use super::tokens::Caller;

tokio::task_local! {
    static ASKED: (HeaderValue, Caller);
}

/// Answers on behalf of that request.
pub(super) fn by<F: Future>(id: HeaderValue, caller: Caller, answer: F) -> impl Future<Output = F::Output> {
    ASKED.scope((id, caller), answer)
}

/// Does that to its end, on behalf of the same request: also where whoever asked goes away meanwhile.
pub(super) async fn to_its_end<T: Send + 'static>(act: impl Future<Output = T> + Send + 'static) -> T {
    let task = match ASKED.try_with(Clone::clone) {
        Ok(asked) => tokio::spawn(ASKED.scope(asked, act)),
        Err(_) => tokio::spawn(act),
    };
    match task.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime ends, and nobody is answered any more.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// The id of the request that is being answered.
pub(super) fn request_id() -> String {
    ASKED.try_with(|(id, _)| id.to_str().unwrap_or("-").to_owned()).unwrap_or_else(|_| "-".to_owned())
}

/// The id of the token that it brought.
pub(super) fn token_id() -> String {
    ASKED.try_with(|(_, caller)| caller.id().to_owned()).unwrap_or_else(|_| "-".to_owned())
}
