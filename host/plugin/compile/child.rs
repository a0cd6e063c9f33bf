//! The compiler's process, from its first step to its last: take the order, give up what is not needed, compile.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd as _;
use std::sync::mpsc;
use std::time::Duration;

use wasmtime::Engine;

use super::super::engine::{self, Concurrency};
use super::super::inspect::{self, Shape};
use super::super::report;
use super::{Answer, Order, confine};

/// The compiler recurses into deeply nested code.
const STACK_BYTES: usize = 16 << 20;
/// How often it is looked whether the work takes long.
const LOOK: Duration = Duration::from_millis(500);

/// Does what the hidden subcommand is for: reads an order and a component from standard input, writes the code to
/// standard output and the answer to standard error. Both are files that the host made.
///
/// # Errors
/// Where it was not the host that started it.
pub fn run() -> anyhow::Result<()> {
    confine::close_inherited()?;
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let order = read_order(&mut input)
        .map_err(|error| anyhow::anyhow!("this is how the host compiles; it is of no use by hand ({error})"))?;
    let answer = match confine::confine(&order.1, order.0) {
        Ok(()) => work(order.1, input),
        Err(why) => Answer::Failed(why),
    };
    let mut words = serde_json::to_vec(&answer)?;
    // Whatever the compiler may have said before stands on lines of its own.
    words.insert(0, b'\n');
    io::stderr().write_all(&words)?;
    Ok(())
}

/// The host's process, and the order.
fn read_order(input: &mut File) -> io::Result<(i32, Order)> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let mut parent = [0; 4];
    input.read_exact(&mut parent)?;
    let mut order = vec![0; u32::from_le_bytes(length).min(1 << 20) as usize];
    input.read_exact(&mut order)?;
    Ok((i32::from_le_bytes(parent), serde_json::from_slice(&order)?))
}

/// Compiles on a thread with a deep stack, and makes it give way further where it takes long.
fn work(order: Order, mut input: File) -> Answer {
    let (sender, done) = mpsc::channel();
    let thread = std::thread::Builder::new().name("compile".to_owned()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        let mut component = Vec::new();
        let answer = match input.read_to_end(&mut component) {
            Ok(_) => deliver(&order, &component),
            Err(error) => Answer::Failed(format!("cannot read the component: {error}")),
        };
        // The other end waits until this one is gone.
        let _ = sender.send(answer);
    });
    if let Err(error) = started {
        return Answer::Failed(format!("there is no thread to compile on: {error}"));
    }
    loop {
        match done.recv_timeout(LOOK) {
            Ok(answer) => return answer,
            Err(mpsc::RecvTimeoutError::Timeout) => confine::sink_if_long(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Answer::Panicked,
        }
    }
}

fn deliver(order: &Order, component: &[u8]) -> Answer {
    let (shape, engine, code) = match compile(order, component) {
        Ok(compiled) => compiled,
        Err(answer) => return answer,
    };
    let written = io::stdout().as_fd().try_clone_to_owned().and_then(|output| File::from(output).write_all(&code));
    match written {
        Ok(()) => Answer::Compiled { shape, engine },
        Err(error) => Answer::Failed(format!("cannot hand the code over: {error}")),
    }
}

/// Checks and compiles. The code is for the engine of that name.
fn compile(order: &Order, component: &[u8]) -> Result<(Shape, String, Vec<u8>), Answer> {
    let shape = inspect::inspect(component).map_err(Answer::Refused)?;
    let concurrency = if shape.is_async { Concurrency::Several } else { Concurrency::One };
    let engine =
        engine::for_compiling(&order.limits, concurrency).map_err(|error| Answer::Failed(format!("{error:#}")))?;
    let code = precompile(&engine, component)?;
    Ok((shape, engine::identity(&engine), code))
}

fn precompile(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, Answer> {
    engine.precompile_component(component).map_err(|error| {
        if is_starved(&error) {
            Answer::Starved
        } else {
            Answer::Refused(report::refusal(&error.root_cause().to_string()))
        }
    })
}

fn is_starved(error: &wasmtime::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("Cannot allocate memory") || text.contains("out of memory")
}

/// The same in this process.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) async fn compile_here(order: Order, component: bytes::Bytes) -> Result<super::Compiled, super::LoadError> {
    let compiled = tokio::task::spawn_blocking(move || compile(&order, &component)).await;
    let compiled = compiled.expect("the compiler does not panic");
    let (shape, engine, bytes) = compiled.map_err(|answer| match answer {
        Answer::Refused(error) => error,
        other => panic!("{other:?}"),
    })?;
    let mut code = super::anonymous("code").expect("there is memory");
    code.write_all(&bytes).expect("there is memory");
    super::seal(&code).expect("what is anonymous can be sealed");
    Ok(super::Compiled { shape, engine, code })
}
