//! The world in `wit/plugin.wit`, as Rust.

wasmtime::component::bindgen!({
    path: "wit",
    world: "plugin",
    imports: {
        "windlass:plugin/http.send": async | trappable,
        "windlass:plugin/http.send-bounded": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
    with: {
        "wasi:http": wasmtime_wasi_http::p2::bindings::http,
        "wasi": wasmtime_wasi::p2::bindings,
    },
});

/// The package of our own interfaces.
pub(super) const PACKAGE: &str = "windlass:plugin";
/// Its version.
pub(super) const VERSION: &str = "0.1.0";
/// The interface that every plugin exports.
pub(super) const HANDLER: &str = "windlass:plugin/handler@0.1.0";
/// The interface that a plugin may export.
pub(super) const METADATA: &str = "windlass:plugin/metadata@0.1.0";
