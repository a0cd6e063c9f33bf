//! Who asked, for log lines: while a request is answered its id and its token's id are at hand.

use std::future::Future;

use axum::http::HeaderValue;

use super::tokens::Caller;
use crate::to_its_end;

tokio::task_local! {
    static ASKED: (HeaderValue, Caller);
}

/// Answers on behalf of that request.
pub(super) fn by<F: Future>(id: HeaderValue, caller: Caller, answer: F) -> impl Future<Output = F::Output> {
    ASKED.scope((id, caller), answer)
}

/// Does that to its end, on behalf of the same request: also where whoever asked goes away meanwhile.
pub(super) async fn to_its_end<T: Send + 'static>(act: impl Future<Output = T> + Send + 'static) -> T {
    match ASKED.try_with(Clone::clone) {
        Ok(asked) => to_its_end::to_its_end(ASKED.scope(asked, act)).await,
        Err(_) => to_its_end::to_its_end(act).await,
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
