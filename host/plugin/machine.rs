//! An engine with what belongs to it: its ticker, its linker, its compiled code. There are two.
//!
//! Most components are of WASI 0.2 and have one thread of control; the machinery for more would cost each of their calls
//! 5 µs. So components of the asynchronous component model, which is that of WASI 0.3, have an engine of their own, made
//! when the first of them comes.

use std::path::PathBuf;
use std::sync::Arc;

use ring::hmac;
use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::config::Limits;

use super::cache::Cache;
use super::engine::{self, Concurrency};
use super::state::State;
use super::ticker::Ticker;

/// One of the two.
pub(super) struct Machine {
    /// The engine.
    pub(super) engine: Engine,
    /// Of which kind it is.
    pub(super) concurrency: Concurrency,
    /// Whether a guest that finds no stack while it runs has them all itself.
    pub(super) is_to_blame: bool,
    /// Its ticker.
    pub(super) ticker: Ticker,
    /// What its guests can reach.
    pub(super) linker: Linker<State>,
    /// What it compiled before.
    pub(super) cache: Cache,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Machine")
    }
}

impl Machine {
    /// Starts one, with a folder for its compiled code and the key that marks it.
    pub(super) fn start(
        limits: &Limits,
        concurrency: Concurrency,
        cache_dir: PathBuf,
        key: hmac::Key,
    ) -> anyhow::Result<Arc<Self>> {
        let engine = engine::start(limits, concurrency)?;
        Ok(Arc::new(Self {
            ticker: Ticker::start(engine.weak())?,
            linker: linker(&engine).map_err(|error| anyhow::anyhow!("cannot link the host's interfaces: {error:#}"))?,
            cache: Cache::open(cache_dir, key, &engine)?,
            engine,
            concurrency,
            is_to_blame: engine::is_to_blame(limits, concurrency),
        }))
    }
}

/// Functions whose cost wasmtime leaves open: ours take their place.
fn narrow(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::random::{insecure, random};

    linker.allow_shadowing(true);
    random::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    insecure::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    super::wasi_http::narrow(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Everything that a guest can reach, whether granted or not: what is not granted refuses when it is called.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    narrow(&mut linker)?;
    super::bindings::windlass::plugin::types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    super::bindings::windlass::plugin::config::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    super::bindings::windlass::plugin::log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    super::bindings::windlass::plugin::http::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}
