//! `PUT /v1/plugins/{name}`: puts a component into the folder.

use std::sync::mpsc;

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use super::super::State;
use super::super::asked;
use super::super::error::{Problem, ProblemDocument, ProblemKind};
use super::super::request::{PluginPath, read_body};
use super::PluginDocument;
use crate::job::units::ByteSize;
use crate::plugin::{Giver, InstallError, LoadCause, LoadError, Signature, SignatureError};

/// The largest component.
const COMPONENT_MAX: ByteSize = ByteSize(64 << 20);
/// Where a component's signature stands.
const SIGNATURE: &str = "windlass-signature";

/// The bytes of a component, as the API's description tells of them.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only described")]
struct Component(Bytes);

/// Install a plugin
///
/// The body is a component. It passes the same checks as a file that is dropped into the folder; one that is refused
/// changes nothing, and the older revision goes on. Its detached signature comes in a header, where one is asked for.
#[utoipa::path(
    put, path = "/v1/plugins/{name}", tag = "plugins",
    params(
        ("name" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$", description = "The plugin's name"),
        ("Windlass-Signature" = Option<String>, Header, description = "The component's Ed25519 signature under that name, in base64; it is put beside the component"),
    ),
    request_body(content = inline(Component), content_type = "application/wasm", description = "A component, at most 64MiB"),
    responses(
        (status = 200, description = "It replaced an older revision", body = PluginDocument),
        (status = 201, description = "It is new", body = PluginDocument, headers(
            ("Location" = String, description = "The path of the plugin"))),
        (status = 400, description = "Not a plugin's name", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "The body took too long", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "While it was being checked and compiled, the plugin's component was removed, replaced or put by somebody else: it was given up", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "It is no plugin, or may not come in; says what is missing", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "The plugins folder cannot be written", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The host lacked something as it was to load it, there is no room for the request, or the host stops: send it again", body = ProblemDocument, content_type = "application/problem+json", headers(
            ("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub(in super::super) async fn put(
    Shared(state): Shared<State>,
    PluginPath(name): PluginPath,
    request: Request,
) -> Result<Response, Problem> {
    let signature = signature(request.headers())?;
    let component = read_body(&state, request, COMPONENT_MAX, "the largest component").await?;
    let is_new = state.loader.get(&name).is_none_or(|plugin| plugin.revision().is_none());
    let (acting, plugin) = (state.clone(), name.clone());
    let (request, token) = (asked::request_id(), asked::token_id());
    // It may take minutes to compile.
    let ((refusal, refused_since), asking, admitted) = (mpsc::channel(), state.clone(), asked::admitted());
    let may_still = move || admitted.again(&asking).map_err(|problem| refusal.send(problem)).is_ok();
    let put = move || {
        acting.wake.notify_one();
        tracing::info!(
            request.id = request,
            token.id = token,
            plugin.name = plugin,
            "a component was put into the plugins folder"
        );
    };
    let install = state.loader.install(&name, component.into_bytes(), signature, Giver::new(may_still, put));
    // Nobody waits for a compiler who wants the host to stop. What was begun in the folder goes on.
    let installed = state.stopping.run_until_cancelled(install).await.ok_or_else(stopping)?;
    let plugin = installed.map_err(|error| refused_since.try_recv().unwrap_or_else(|_| refused(&state, error)))?;
    let tally = state.store.counts().plugins.get(&*name).copied().unwrap_or_default();
    let told = Json(PluginDocument::of(&state, &*plugin, tally));
    Ok(if is_new {
        (StatusCode::CREATED, [(LOCATION, format!("/v1/plugins/{name}"))], told).into_response()
    } else {
        told.into_response()
    })
}

fn signature(headers: &HeaderMap) -> Result<Option<Signature>, Problem> {
    let mut values = headers.get_all(SIGNATURE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let refusal = |summary: String| {
        let help = Some("`windlass plugin sign` prints what belongs there".to_owned());
        let (summary, cause) = (format!("the header Windlass-Signature: {summary}"), LoadCause::Files);
        Problem::from(LoadError { summary, help, cause })
    };
    match (text.parse(), values.next()) {
        (Ok(signature), None) => Ok(Some(signature)),
        (Ok(_), Some(_)) => Err(refusal("it is there more than once".to_owned())),
        (Err(error), _) => Err(refusal(SignatureError::to_string(&error))),
    }
}

fn refused(state: &State, error: InstallError) -> Problem {
    match error {
        InstallError::Refused(error) => error.into(),
        given_up @ (InstallError::Overtaken | InstallError::Withdrawn) => {
            Problem::new(ProblemKind::ComponentOvertaken, given_up.to_string())
        }
        InstallError::Folder(error) => unwritable(state, &error),
    }
}

/// The host stops before the component serves.
fn stopping() -> Problem {
    let detail = "the host stops, and gave the component up unless it was in the plugins folder already; send it again";
    Problem::new(ProblemKind::NotReady, detail)
}

/// The folder cannot be written.
pub(super) fn unwritable(state: &State, error: &std::io::Error) -> Problem {
    let folder = state.config.plugins.dir.display();
    tracing::error!(request.id = asked::request_id(), %error, %folder, "the plugins folder cannot be written");
    let detail = format!(
        "cannot write the plugins folder {folder}: {error}; it is looked at again as it is now; mend it and send this \
         again"
    );
    Problem::new(ProblemKind::FolderUnwritable, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::Api;

    #[tokio::test]
    async fn a_component_is_created_then_replaced() {
        let api = Api::new();
        let answer = api.put("/v1/plugins/echo", b"component").await;
        assert_eq!((answer.status, answer.header("location")), (201, Some("/v1/plugins/echo")));
        assert_eq!((answer.json()["name"].as_str(), answer.json()["state"].as_str()), (Some("echo"), Some("ready")));
        assert_eq!(api.put("/v1/plugins/echo", b"component").await.status, 200);
        assert_eq!(api.plugins.installed(), ["echo", "echo"]);
        api.woken().await;
    }

    #[tokio::test]
    async fn who_put_a_component_is_told_of_it_though_it_is_gone_by_then() {
        let api = Api::new();
        let answer = api.put("/v1/plugins/echo", b"removed at once").await;
        assert_eq!((answer.status, answer.json()["state"].as_str()), (201, Some("ready")));
        assert_eq!(api.get("/v1/plugins/echo").await.status, 404);
    }

    #[tokio::test]
    async fn what_is_no_plugin_is_refused_with_what_to_do() {
        let api = Api::new().plugin("echo");
        let problem = api.put("/v1/plugins/echo", b"refuse me").await.problem(ProblemKind::ComponentRefused);
        assert_eq!(problem.detail, "it does not export a handler");
        assert_eq!(problem.help.as_deref(), Some("export windlass:plugin/handler"));
        assert_eq!(api.get("/v1/plugins/echo").await.json()["state"], "ready");
    }

    #[tokio::test]
    async fn what_the_host_could_not_load_for_now_may_be_sent_again() {
        let api = Api::new().plugin("echo");
        let answer = api.put("/v1/plugins/echo", b"no room").await;
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert!(answer.problem(ProblemKind::LoadFailed).detail.contains("too many open files"));
    }

    #[tokio::test]
    async fn what_was_overtaken_is_a_conflict() {
        let api = Api::new().plugin("echo");
        let problem = api.put("/v1/plugins/echo", b"too late").await.problem(ProblemKind::ComponentOvertaken);
        assert!(problem.detail.contains("removed or replaced") && problem.status == 409, "{problem:?}");
    }

    #[tokio::test]
    async fn a_component_does_not_hold_a_host_that_stops() {
        let api = Api::new().plugin("echo");
        api.state.stopping.cancel();
        let problem = api.put("/v1/plugins/echo", b"for ever").await.problem(ProblemKind::NotReady);
        assert!(problem.detail.contains("send it again"), "{problem:?}");
    }

    #[tokio::test]
    async fn a_signature_comes_in_a_header() {
        let api = Api::new();
        let signature = format!("{}A==", "A".repeat(85));
        let put = |value: String| {
            let headers = [("windlass-signature", value.as_str())].map(|(name, value)| (name, value.to_owned()));
            let api = &api;
            async move {
                let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
                api.send_with("PUT", "/v1/plugins/echo", &headers, None).await
            }
        };
        assert_eq!(put(signature.clone()).await.status, 201);
        assert_eq!(api.plugins.installed(), [format!("echo signed {signature}")]);
        let problem = put("abc".to_owned()).await.problem(ProblemKind::ComponentRefused);
        assert!(problem.detail.contains("Windlass-Signature"), "{problem:?}");
    }

    #[tokio::test]
    async fn a_name_must_be_one() {
        Api::new().put("/v1/plugins/Echo", b"component").await.problem(ProblemKind::PluginNameInvalid);
        Api::new().put("/v1/plugins/..%2Fetc", b"component").await.problem(ProblemKind::PluginNameInvalid);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_told() {
        let problem = Api::new().put("/v1/plugins/echo", b"disk").await.problem(ProblemKind::FolderUnwritable);
        assert!(problem.detail.contains("plugins"), "{problem:?}");
    }

    #[tokio::test]
    async fn a_component_that_is_too_large_is_refused() {
        let api = Api::new();
        let headers = [("content-length", "68000000"), ("expect", "100-continue")];
        let answer = api.send_with("PUT", "/v1/plugins/echo", &headers, None).await;
        assert!(answer.problem(ProblemKind::TooLarge).detail.contains("64MiB"));
    }
}
