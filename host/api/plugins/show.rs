//! `GET /v1/plugins/{name}`: one plugin.

use axum::Json;
use axum::extract::State as Shared;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::PluginPath;
use super::{PluginDocument, find};

/// Show a plugin
#[utoipa::path(
    get, path = "/v1/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$", description = "The plugin's name")),
    responses(
        (status = 200, description = "The plugin", body = PluginDocument),
        (status = 400, description = "Not a plugin's name", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such plugin", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn show(
    Shared(state): Shared<State>,
    PluginPath(name): PluginPath,
) -> Result<Json<PluginDocument>, Problem> {
    find(&state, &name).map(Json)
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use crate::api::testing::{Api, FakePlugin, json};
    use crate::config::PluginFile;
    use crate::plugin::{LoadCause, LoadError};

    #[tokio::test]
    async fn a_plugin_tells_what_it_asked_for_and_what_it_was_granted() {
        let api = Api::new();
        let file = "origins = [\"https://api.example.com\"]\ndownstream = \"erp\"\nconcurrency = 2\nrate = \"30/m\"\n\
                    [secrets]\nkey = { env = \"NEVER_TOLD\" }\n[config]\ncurrency = \"never told\"\n\
                    [retry]\nmax_attempts = 8\n[limits]\ndeadline = \"10s\"";
        let mut plugin = FakePlugin::named("echo");
        plugin.file =
            PluginFile::parse("echo.toml".as_ref(), file, &crate::config::Limits::default()).expect("a valid file");
        plugin.limits = api.state.config.limits.attempt(&plugin.file.limits);
        api.plugins.put(plugin);
        api.enqueue(json!({"plugin": "echo", "payload": 1, "delay": "1h"})).await;
        let answer = api.get("/v1/plugins/echo").await;
        let told = answer.json();
        assert_eq!((&told["state"], &told["downstream"]), (&json!("ready"), &json!("erp")));
        assert_eq!(told["revision"].as_str().unwrap().len(), 64);
        assert_eq!(told["asked"]["secrets"], json!(["key"]));
        let granted = json!({"origins": ["https://api.example.com"], "config": ["currency"], "secrets": ["key"]});
        assert_eq!(told["granted"], granted);
        assert_eq!((&told["concurrency"], &told["rate_per_second"]), (&json!(2), &json!(0.5)));
        assert_eq!((&told["retry"], &told["limits"]["deadline"]), (&json!({"max_attempts": 8}), &json!("10s")));
        assert_eq!(told["counts"], json!({"available": 0, "running": 0, "later": 1, "held": 0}));
        assert_eq!(told["exports"], json!(["windlass:plugin/handler@0.1.0"]));
        assert_eq!(told["loaded_at"], "2026-01-02T03:04:05.007Z");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("NEVER_TOLD") && !text.contains("never told"), "{text}");
    }

    #[tokio::test]
    async fn a_load_error_is_told_in_full() {
        let api = Api::new();
        let (summary, help) = ("no export".into(), Some("export handler".into()));
        let error = LoadError { summary, help, cause: LoadCause::Files };
        let mut plugin = FakePlugin { load_error: Some(error), ..FakePlugin::named("echo") };
        api.plugins.put(plugin.clone());
        let told = api.get("/v1/plugins/echo").await.json();
        assert_eq!(told["state"], "ready", "the older revision goes on");
        assert_eq!(told["load_error"], json!({"summary": "no export", "help": "export handler", "cause": "files"}));
        plugin.revision = None;
        api.plugins.put(plugin);
        assert_eq!(api.get("/v1/plugins/echo").await.json()["state"], "broken");
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let api = Api::new();
        api.get("/v1/plugins/nobody").await.problem(ProblemKind::PluginUnknown);
        for name in ["Echo", "-x", "a_b", &"x".repeat(64)] {
            let problem = api.get(&format!("/v1/plugins/{name}")).await.problem(ProblemKind::PluginNameInvalid);
            assert!(problem.detail.contains("[a-z0-9][a-z0-9-]{0,62}"), "{problem:?}");
        }
    }
}
