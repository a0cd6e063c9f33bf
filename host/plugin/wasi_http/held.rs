//! What the host holds of a guest's headers, requests and answers in `wasi:http`. wasmtime bounds each by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderValue};
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::body::HostFutureTrailers;
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};

use crate::config::AttemptLimits;

use super::super::attempt::Attempt;
use super::super::egress::HEAD_BYTES_MAX;
use super::CHUNK_BYTES_MAX;

/// What it may take of the host without a word: a guest that holds a handful at once takes less.
const UNCOUNTED_BYTES: usize = 1 << 20;

/// What one name of a header takes of the host beside its text, with its first value, at most: a place in a table that
/// grows to twice what it was, and one in its index.
const NAME_BYTES: usize = 224;
/// The same for each further value.
const VALUE_BYTES: usize = 144;
/// What a body that nobody reads holds beside its trailers, at most: one piece that lies there, and one behind it.
const BODY_BYTES: usize = 2 * CHUNK_BYTES_MAX;

/// What is held, as far as it is known: it is looked through where it can have become much more.
#[derive(Debug)]
pub(in super::super) struct Held {
    /// What was found last.
    found_bytes: usize,
    /// What of it were answers that nobody took.
    untaken_bytes: usize,
    /// What the calls since then can have added.
    added_bytes: usize,
    /// Trailers that were given to bodies, which can no longer be looked at.
    trailers_bytes: usize,
    /// What one call can add.
    call_bytes_max: usize,
}

impl Held {
    /// Nothing yet, by a guest with those limits.
    pub(in super::super) fn new(limits: &AttemptLimits) -> Self {
        // A field that has next to no text takes several times what wasmtime counts of it.
        let call_bytes_max = (4 * fields_bytes_max(limits)).max(HEAD_BYTES_MAX);
        Self { found_bytes: 0, untaken_bytes: 0, added_bytes: 0, trailers_bytes: 0, call_bytes_max }
    }

    /// One more call comes, after which there may be more. What counts of all that the calls before it left in the table,
    /// and of so many bytes of answers that nobody took; none where nothing new is known. So much memory is left for it.
    pub(in super::super) fn before_call(
        &mut self,
        table: &mut ResourceTable,
        untaken_bytes: usize,
        left_bytes: usize,
    ) -> Option<usize> {
        let may_be_bytes = self.found_bytes.saturating_add(self.added_bytes).saturating_add(untaken_bytes);
        // Near its end at each call, far from it seldom: to look through much takes its time.
        let new_bytes = self.added_bytes.saturating_add(untaken_bytes.abs_diff(self.untaken_bytes));
        let is_due = new_bytes > left_bytes.saturating_sub(self.found_bytes) / 4;
        let found = (may_be_bytes > UNCOUNTED_BYTES && is_due).then(|| {
            let (bytes, has_bodies) = bytes_in(table);
            self.trailers_bytes = if has_bodies { self.trailers_bytes } else { 0 };
            self.found_bytes = bytes + self.trailers_bytes + untaken_bytes;
            (self.added_bytes, self.untaken_bytes) = (0, untaken_bytes);
            self.found_bytes.saturating_sub(UNCOUNTED_BYTES)
        });
        self.added_bytes = self.added_bytes.saturating_add(self.call_bytes_max);
        found
    }

    /// Those trailers are given to a body.
    pub(in super::super) fn trailers(&mut self, trailers: &FieldMap) {
        self.trailers_bytes = self.trailers_bytes.saturating_add(map_bytes(trailers));
    }
}

/// The head of an answer that no guest has taken, or what may lie there of a body that it has not read. A head's lies among
/// the answer's extensions, which wasmtime drops as the guest takes it; a body's goes with the body.
#[derive(Clone, Debug)]
pub(super) struct Untaken(#[expect(dead_code, reason = "it counts until it is dropped")] Arc<Counted>);

#[derive(Debug)]
struct Counted {
    attempt: Arc<Attempt>,
    bytes: usize,
}

impl Untaken {
    /// Counts until it is dropped.
    pub(super) fn head(attempt: &Arc<Attempt>, head: &HeaderMap) -> Self {
        Self::body(attempt, map_bytes(head))
    }

    /// The same for a body that takes up to so many bytes.
    pub(super) fn body(attempt: &Arc<Attempt>, bytes: usize) -> Self {
        attempt.untaken_bytes.fetch_add(bytes, Ordering::Relaxed);
        Self(Arc::new(Counted { attempt: attempt.clone(), bytes }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.attempt.untaken_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What wasmtime keeps of one of the guest's maps of fields, at most: beyond it, it traps. Up to it the guest is told what
/// is too large when it sends.
pub(in super::super) fn fields_bytes_max(limits: &AttemptLimits) -> usize {
    limits.headers.as_usize().saturating_mul(2)
}

/// All of it, and whether there are bodies. What several handles share counts once.
fn bytes_in(table: &mut ResourceTable) -> (usize, bool) {
    let (mut bytes, mut bodies) = (0, 0);
    let mut maps: Vec<&HeaderMap> = Vec::new();
    for entry in table.iter_mut() {
        let entry = &*entry;
        if let Some(fields) = entry.downcast_ref::<FieldMap>() {
            maps.push(fields);
        } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            maps.push(&request.headers);
            bytes += request.authority.as_ref().map_or(0, String::len);
            bytes += request.path_with_query.as_ref().map_or(0, String::len);
            bodies += usize::from(request.body.is_some());
        } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
            maps.push(&response.headers);
            bodies += usize::from(response.body.is_some());
        } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
            maps.push(&response.headers);
        } else if let Some(HostFutureTrailers::Done(Ok(Some(trailers)))) = entry.downcast_ref() {
            maps.push(trailers);
        }
    }
    maps.retain(|map| !map.is_empty());
    maps.sort_unstable_by_key(|map| std::ptr::from_ref(*map));
    maps.dedup_by_key(|map| std::ptr::from_ref(*map));
    (bytes + bodies * BODY_BYTES + maps.into_iter().map(map_bytes).sum::<usize>(), bodies > 0)
}

/// What a map takes, at most.
fn map_bytes(map: &HeaderMap) -> usize {
    let text_bytes =
        map.keys().map(|name| name.as_str().len()).chain(map.values().map(HeaderValue::len)).sum::<usize>();
    text_bytes + map.keys_len() * NAME_BYTES + (map.len() - map.keys_len()) * VALUE_BYTES
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use wasmtime_wasi_http::p2::bindings::http::types::Method;

    use super::*;
    use crate::config::{LimitOverride, Limits};

    fn fields(bytes: usize) -> FieldMap {
        let mut fields = FieldMap::new_mutable(usize::MAX);
        let value = HeaderValue::from_bytes(&vec![b'x'; bytes]).unwrap();
        fields.append_raw(HeaderName::from_static("x"), value).unwrap();
        fields
    }

    fn request(headers: FieldMap, path: &str) -> HostOutgoingRequest {
        HostOutgoingRequest {
            method: Method::Get,
            scheme: None,
            authority: None,
            path_with_query: Some(path.to_owned()),
            headers,
            body: None,
        }
    }

    #[test]
    fn what_is_held_is_found_wherever_it_is_and_what_is_shared_counts_once() {
        let one = fields(1_000);
        let each = map_bytes(&one);
        assert!((1_000..1_300).contains(&each), "{each}");
        let mut table = ResourceTable::new();
        table.push(one.clone()).unwrap();
        table.push(request(one, "/path")).unwrap();
        assert_eq!(bytes_in(&mut table), (each + 5, false));
        table.push(fields(1_000)).unwrap();
        table.push(HostFutureTrailers::Done(Ok(Some(fields(1_000).into())))).unwrap();
        table.push("of no account".to_owned()).unwrap();
        assert_eq!(bytes_in(&mut table), (3 * each + 5, false));
        table.push(HostOutgoingRequest { body: Some(Default::default()), ..request(fields(1_000), "") }).unwrap();
        let response = HostOutgoingResponse {
            status: http::StatusCode::OK,
            headers: fields(1_000),
            body: Some(Default::default()),
        };
        table.push(response).unwrap();
        assert_eq!(bytes_in(&mut table), (5 * each + 5 + 2 * BODY_BYTES, true));
    }

    #[test]
    fn it_is_looked_through_the_more_often_the_less_is_left() {
        let limits = Limits::default().attempt(&LimitOverride::default());
        let (mut table, mut held) = (ResourceTable::new(), Held::new(&limits));
        let full = || fields(fields_bytes_max(&limits) - 100);
        let each = map_bytes(&full());
        let mut looks = [0, 0];
        for count in 0..160 {
            // As much is left as is there in the end.
            if let Some(found) = held.before_call(&mut table, 0, 160 * each) {
                assert_eq!(found, (count * each).saturating_sub(UNCOUNTED_BYTES), "before call {count}");
                looks[count / 80] += 1;
            }
            table.push(full()).unwrap();
        }
        assert!((1..=16).contains(&looks[0]) && looks[1] > looks[0], "{looks:?}");
        let no_more = held.before_call(&mut table, 0, 159 * each).unwrap();
        assert_eq!(no_more, 160 * each - UNCOUNTED_BYTES);
        assert_eq!(
            held.before_call(&mut ResourceTable::new(), 5, each),
            Some(0),
            "what was given back counts no longer"
        );
    }

    #[test]
    fn it_is_looked_through_when_answers_that_nobody_reads_have_become_much() {
        let limits = Limits::default().attempt(&LimitOverride::default());
        let (mut table, mut held) = (ResourceTable::new(), Held::new(&limits));
        assert_eq!(held.before_call(&mut table, 0, 64 << 20), None);
        assert_eq!(held.before_call(&mut table, 8 << 20, 64 << 20), None, "there is much left");
        assert_eq!(held.before_call(&mut table, 20 << 20, 64 << 20), Some((20 << 20) - UNCOUNTED_BYTES));
        assert_eq!(held.before_call(&mut table, 21 << 20, 64 << 20), None, "it is known already");
        assert_eq!(held.before_call(&mut table, 1 << 20, 64 << 20), Some(0), "it is gone");
    }

    #[test]
    fn trailers_count_while_there_are_bodies_and_answers_until_they_are_taken() {
        let limits = Limits::default().attempt(&LimitOverride::default());
        let (mut table, mut held) = (ResourceTable::new(), Held::new(&limits));
        let much = fields(2 << 20);
        held.trailers(&much);
        let body =
            table.push(HostOutgoingRequest { body: Some(Default::default()), ..request(fields(1), "") }).unwrap();
        let mut now = |table: &mut ResourceTable, untaken| {
            (0..4).filter_map(|_| held.before_call(table, untaken, 0)).last().unwrap()
        };
        assert!(now(&mut table, 0) > 1 << 20);
        table.delete(body).unwrap();
        assert_eq!(now(&mut table, 0), 0);
        assert_eq!(now(&mut table, UNCOUNTED_BYTES + 7), 7);
    }
}
