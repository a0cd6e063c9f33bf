//! Functions of `wasi:http` that bound what they keep, in the place of wasmtime's.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{FieldMap, WasiHttpView as _};

use super::super::state::State;
use super::held::fields_bytes_max;

/// The longest word for a method or a scheme: what a request holds of them no limit of wasmtime's bounds.
const WORD_BYTES_MAX: usize = 64;
/// The longest authority, for the same reason: a name of 253 letters and a port, in whatever spelling. Of a path the
/// standard's own parser takes less than 64 KiB.
const AUTHORITY_BYTES_MAX: usize = 1 << 10;
/// The interface that has the requests, in the version that wasmtime links.
const TYPES: &str = "wasi:http/types@0.2.12";

type Request = Resource<HostOutgoingRequest>;
type Fields = Resource<FieldMap>;

/// Puts functions that bound what they keep in the place of wasmtime's.
pub(in super::super) fn narrow(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>, (request, method): (Request, types::Method)| {
            let mut http = store.data_mut().http();
            match &method {
                types::Method::Other(word) if word.len() > WORD_BYTES_MAX => Ok((Err(()),)),
                _ => Ok((types::HostOutgoingRequest::set_method(&mut http, request, method)?,)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: StoreContextMut<'_, State>, (request, scheme): (Request, Option<types::Scheme>)| {
            let mut http = store.data_mut().http();
            match &scheme {
                Some(types::Scheme::Other(word)) if word.len() > WORD_BYTES_MAX => Ok((Err(()),)),
                _ => Ok((types::HostOutgoingRequest::set_scheme(&mut http, request, scheme)?,)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, State>, (request, authority): (Request, Option<String>)| {
            let mut http = store.data_mut().http();
            match &authority {
                Some(text) if text.len() > AUTHORITY_BYTES_MAX => Ok((Err(()),)),
                _ => Ok((types::HostOutgoingRequest::set_authority(&mut http, request, authority)?,)),
            }
        },
    )?;
    types.func_wrap(
        "[method]fields.set",
        |mut store: StoreContextMut<'_, State>, (fields, name, values): (Fields, String, Vec<Vec<u8>>)| {
            let bytes_max = fields_bytes_max(&store.data().attempt.limits);
            let mut http = store.data_mut().http();
            let set = types::HostFields::set(&mut http, again(&fields), name, values);
            Ok((shrunk(http.table, &fields, set, bytes_max)?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.delete",
        |mut store: StoreContextMut<'_, State>, (fields, name): (Fields, String)| {
            let bytes_max = fields_bytes_max(&store.data().attempt.limits);
            let mut http = store.data_mut().http();
            let deleted = types::HostFields::delete(&mut http, again(&fields), name);
            Ok((shrunk(http.table, &fields, deleted, bytes_max)?,))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: StoreContextMut<'_, State>, (body, trailers): (Resource<HostOutgoingBody>, Option<Fields>)| {
            let state = store.data_mut();
            if let Some(trailers) = &trailers {
                state.hands_over_trailers(trailers)?;
            }
            let finished = types::HostOutgoingBody::finish(&mut state.http(), body, trailers);
            Ok((finished.map_or_else(|error| error.downcast().map(Err), |()| Ok(Ok(())))?,))
        },
    )
}

/// The same handle, as wasmtime's function takes it for itself.
fn again(fields: &Fields) -> Fields {
    Resource::new_borrow(fields.rep())
}

/// A map of fields keeps the room of what is no longer in it. So it is made anew where something may have gone.
fn shrunk(
    table: &mut ResourceTable,
    fields: &Fields,
    changed: Result<(), wasmtime_wasi_http::p2::HeaderError>,
    bytes_max: usize,
) -> wasmtime::Result<Result<(), types::HeaderError>> {
    if let Err(error) = changed {
        return error.downcast().map(Err);
    }
    let map = table.get_mut(fields)?;
    *map = anew(map, bytes_max)?;
    Ok(Ok(()))
}

/// The same fields, in no more room than they need.
pub(super) fn anew(map: &FieldMap, bytes_max: usize) -> wasmtime::Result<FieldMap> {
    let mut anew = FieldMap::new_mutable(bytes_max);
    for (name, value) in map.iter() {
        anew.append_raw(name.clone(), value.clone())?;
    }
    Ok(anew)
}
