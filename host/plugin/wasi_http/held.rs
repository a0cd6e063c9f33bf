//! What the host holds of a guest's headers, requests and answers in `wasi:http`. wasmtime bounds each by itself.

use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::body::HostFutureTrailers;
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::egress::HEAD_BYTES_MAX;
use super::CHUNK_BYTES_MAX;
use crate::config::AttemptLimits;

/// What it may take of the host without a word: a guest that holds a handful at once takes less.
const UNCOUNTED_BYTES: usize = 1 << 20;

/// What is held, as far as it is known: it is looked through where it can be more than is free.
#[derive(Debug)]
pub(in super::super) struct Held {
    /// What was found last.
    found_bytes: usize,
    /// What the calls since then can have added.
    added_bytes: usize,
    /// What one call can add.
    call_bytes_max: usize,
}

impl Held {
    /// Nothing yet, by a guest with those limits.
    pub(in super::super) fn new(limits: &AttemptLimits) -> Self {
        let call_bytes_max = fields_bytes_max(limits).max(HEAD_BYTES_MAX);
        Self { found_bytes: 0, added_bytes: 0, call_bytes_max }
    }

    /// One more call comes, after which there may be more. What counts of all that the calls before it left in the table;
    /// none where that is nothing still.
    pub(in super::super) fn before_call(&mut self, table: &mut ResourceTable) -> Option<usize> {
        let was_free = self.found_bytes <= UNCOUNTED_BYTES;
        let may_be_bytes = self.found_bytes.saturating_add(self.added_bytes);
        if may_be_bytes > UNCOUNTED_BYTES {
            (self.found_bytes, self.added_bytes) = (bytes_in(table), 0);
        }
        self.added_bytes = self.added_bytes.saturating_add(self.call_bytes_max);
        let is_free = self.found_bytes <= UNCOUNTED_BYTES;
        (!was_free || !is_free).then(|| self.found_bytes.saturating_sub(UNCOUNTED_BYTES))
    }
}

/// What wasmtime keeps of one of the guest's maps of fields, at most: beyond it, it traps. Up to it the guest is told what
/// is too large when it sends.
pub(in super::super) fn fields_bytes_max(limits: &AttemptLimits) -> usize {
    limits.headers.as_usize().saturating_mul(2)
}

/// All of it. What several handles share counts once.
fn bytes_in(table: &mut ResourceTable) -> usize {
    let mut bytes = 0;
    let mut maps: Vec<&HeaderMap> = Vec::new();
    for entry in table.iter_mut() {
        let entry = &*entry;
        if let Some(fields) = entry.downcast_ref::<FieldMap>() {
            maps.push(fields);
        } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            maps.push(&request.headers);
            bytes += request.authority.as_ref().map_or(0, String::len);
            bytes += request.path_with_query.as_ref().map_or(0, String::len);
            // Of a body that nobody reads yet, one piece.
            bytes += request.body.as_ref().map_or(0, |_| CHUNK_BYTES_MAX);
        } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
            maps.push(&response.headers);
        } else if let Some(HostFutureTrailers::Done(Ok(Some(trailers)))) = entry.downcast_ref() {
            maps.push(trailers);
        }
    }
    maps.retain(|map| !map.is_empty());
    maps.sort_unstable_by_key(|map| std::ptr::from_ref(*map));
    maps.dedup_by_key(|map| std::ptr::from_ref(*map));
    bytes + maps.into_iter().map(map_bytes).sum::<usize>()
}

/// As wasmtime counts it for its bound of each map.
fn map_bytes(map: &HeaderMap) -> usize {
    let names = map.keys().map(|name| name.as_str().len() + size_of::<HeaderName>());
    let values = map.values().map(|value| value.len() + size_of::<HeaderValue>());
    names.chain(values).sum()
}

#[cfg(test)]
mod tests {
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
    fn fields_paths_and_trailers_are_found_and_what_is_shared_counts_once() {
        let one = fields(1_000);
        let each = map_bytes(&one);
        assert!((1_000..1_100).contains(&each), "{each}");
        let mut table = ResourceTable::new();
        table.push(one.clone()).unwrap();
        table.push(request(one, "/path")).unwrap();
        assert_eq!(bytes_in(&mut table), each + 5);
        table.push(fields(1_000)).unwrap();
        table.push(HostFutureTrailers::Done(Ok(Some(fields(1_000).into())))).unwrap();
        table.push("of no account".to_owned()).unwrap();
        assert_eq!(bytes_in(&mut table), 3 * each + 5);
        let sent = HostOutgoingRequest { body: Some(Default::default()), ..request(fields(1_000), "") };
        table.push(sent).unwrap();
        assert_eq!(bytes_in(&mut table), 4 * each + 5 + CHUNK_BYTES_MAX);
    }

    #[test]
    fn nothing_is_looked_through_while_it_is_little_and_each_call_while_it_is_much() {
        let limits = Limits::default().attempt(&LimitOverride::default());
        let (mut table, mut held) = (ResourceTable::new(), Held::new(&limits));
        // Next to whatever a call can add, in each.
        let full = || fields(fields_bytes_max(&limits) - 100);
        let mut handles = Vec::new();
        for count in 0..16 {
            let beyond = (count * map_bytes(&full())).checked_sub(UNCOUNTED_BYTES);
            assert_eq!(held.before_call(&mut table), beyond, "before call {count}");
            assert_eq!(beyond.is_some(), count > 8);
            handles.push(table.push(full()).unwrap());
        }
        for handle in handles.drain(4..) {
            table.delete(handle).unwrap();
        }
        assert_eq!(held.before_call(&mut table), Some(0), "what was given back counts no longer");
        assert_eq!(held.before_call(&mut table), None);
    }
}
