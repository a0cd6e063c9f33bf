//! The downstream and its ledger: what was really asked for, and what really happened, whatever the host believes.
//!
//! It stays up while hosts are killed. The URL says what a call comes to: `/NAME?fails=1&refuse=0&before=5&after=20`
//! fails the first call of that name with 503, then does it: 5 ms after it came, and says so 20 ms later.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use windlass::clock::{Clock as _, SystemClock};

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it had come, in milliseconds since 1970.
    pub at: i64,
    /// When it took effect, and as what. None where the caller was gone before.
    pub effect: Option<(i64, u16)>,
    /// When that was said. None where the caller was gone before.
    pub answered: Option<i64>,
    /// The idempotency key that it bore.
    pub key: String,
}

impl Call {
    /// Whether it did what was asked.
    pub fn succeeded(&self) -> bool {
        self.effect.is_some_and(|(_, status)| status == 200)
    }
}

/// All calls, by the name of the job that was to be done.
pub type Calls = HashMap<String, Vec<Call>>;

/// The downstream.
#[derive(Clone)]
pub struct Ledger {
    /// Where it listens.
    pub address: SocketAddr,
    calls: Arc<Mutex<Calls>>,
    clock: Arc<SystemClock>,
}

/// What a URL asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// So many calls fail first.
    pub fails: usize,
    /// So many calls are refused first.
    pub refuse: usize,
    /// So long until it takes effect, in milliseconds.
    pub before: u64,
    /// So long from then to the answer.
    pub after: u64,
}

impl Ledger {
    /// Starts it.
    pub async fn start(clock: Arc<SystemClock>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let ledger = Self { address, calls: Arc::default(), clock };
        let router = Router::new().fallback(serve).with_state(ledger.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("the downstream serves") });
        ledger
    }

    /// Its origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where a job of that name calls.
    pub fn url(&self, name: &str, wish: Wish) -> String {
        let Wish { fails, refuse, before, after } = wish;
        format!("{}/{name}?fails={fails}&refuse={refuse}&before={before}&after={after}", self.origin())
    }

    /// Everything that was called.
    pub fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap()
    }

    /// How many calls came between these moments and were not answered at the second one, and how many had been, but not
    /// for longer than `just_ms`.
    pub fn out_between(&self, from: i64, to: i64, just_ms: i64) -> (usize, usize) {
        let calls = self.calls();
        let came = || calls.values().flatten().filter(|call| (from..=to).contains(&call.at));
        let is_open = |call: &&Call| call.answered.is_none_or(|at| at > to);
        let was_just_answered = |call: &&Call| call.answered.is_some_and(|at| (to - just_ms..=to).contains(&at));
        (came().filter(is_open).count(), came().filter(was_just_answered).count())
    }

    fn now(&self) -> i64 {
        self.clock.now().0
    }
}

impl Wish {
    fn read(query: &str) -> Self {
        let number = |wanted: &str| {
            let mut members = query.split('&').filter_map(|member| member.split_once('='));
            members.find(|(name, _)| *name == wanted).map_or(0, |(_, text)| text.parse().expect("a number"))
        };
        Self {
            fails: number("fails") as usize,
            refuse: number("refuse") as usize,
            before: number("before"),
            after: number("after"),
        }
    }

    fn status(self, earlier: usize) -> u16 {
        match earlier {
            _ if earlier < self.refuse => 400,
            _ if earlier < self.refuse + self.fails => 503,
            _ => 200,
        }
    }
}

/// Where the caller goes away, this is dropped where it stands.
async fn serve(State(ledger): State<Ledger>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    if axum::body::to_bytes(body, usize::MAX).await.is_err() {
        return StatusCode::BAD_REQUEST;
    }
    let name = head.uri.path().trim_start_matches('/').to_owned();
    let wish = Wish::read(head.uri.query().unwrap_or_default());
    let key = head.headers.get("idempotency-key").map_or("", |key| key.to_str().unwrap_or("")).to_owned();
    let place = {
        let mut calls = ledger.calls();
        let calls = calls.entry(name.clone()).or_default();
        calls.push(Call { at: ledger.now(), effect: None, answered: None, key });
        calls.len() - 1
    };
    tokio::time::sleep(Duration::from_millis(wish.before)).await;
    let status = {
        let mut calls = ledger.calls();
        let calls = calls.get_mut(&name).expect("it was put there");
        let status = wish.status(calls.iter().filter(|call| call.effect.is_some()).count());
        calls[place].effect = Some((ledger.now(), status));
        status
    };
    tokio::time::sleep(Duration::from_millis(wish.after)).await;
    ledger.calls().get_mut(&name).expect("it was put there")[place].answered = Some(ledger.now());
    StatusCode::from_u16(status).expect("a status")
}
