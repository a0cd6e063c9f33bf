//! The table of contents.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};

use super::{State, downstreams, error, guard, health, jobs, metrics, openapi, plugins};

/// The whole API.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::enqueue))
        .route("/v1/jobs/batch", post(jobs::batch))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/attempts/{n}", get(jobs::attempt))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/plugins", get(plugins::list))
        .route("/v1/plugins/{name}", put(plugins::put).get(plugins::show).delete(plugins::remove))
        .route("/v1/plugins/{name}/pause", post(plugins::pause))
        .route("/v1/plugins/{name}/resume", post(plugins::resume))
        .route("/v1/downstreams", get(downstreams::list))
        .route("/v1/downstreams/{key}", get(downstreams::show))
        .route("/v1/downstreams/{key}/hold", post(downstreams::hold))
        .route("/v1/downstreams/{key}/release", post(downstreams::release))
        .route("/v1/downstreams/{key}/probe", post(downstreams::probe))
        .route("/v1/downstreams/{key}/limit", post(downstreams::limit))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(error::route_unknown)
        .layer(from_fn_with_state(state.clone(), guard::pass))
        .with_state(state)
}
