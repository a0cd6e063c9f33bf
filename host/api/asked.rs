//! Who asked, and for what: while a request is answered its id and what the guard let in are at hand, for log lines and to
//! be asked again.

use std::future::Future;

use axum::http::HeaderValue;

use super::State;
use super::error::Problem;
use super::guard::Admitted;
use super::tokens::Caller;
use crate::to_its_end;

tokio::task_local! {
    static ASKED: (HeaderValue, Admitted);
}

/// Answers on behalf of that request.
pub(super) fn by<F: Future>(id: HeaderValue, admitted: Admitted, answer: F) -> impl Future<Output = F::Output> {
    ASKED.scope((id, admitted), answer)
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
    ASKED.try_with(|(_, admitted)| admitted.caller().id().to_owned()).unwrap_or_else(|_| "-".to_owned())
}

/// Whom the guard let in; nobody where it did not see the request.
pub(super) fn admitted() -> Admitted {
    ASKED.try_with(|(_, admitted)| admitted.clone()).unwrap_or_else(|_| Admitted::nobody())
}

/// Asks again of the request that is being answered, after what may have taken long: who asks by the tokens as they are
/// now, or why it is refused.
pub(super) fn again(state: &State) -> Result<Caller, Problem> {
    admitted().again(state)
}
