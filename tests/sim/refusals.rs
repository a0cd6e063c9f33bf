//! Who was refused, and when: whoever was not must begin at once.

use std::collections::BTreeMap;

use windlass::clock::UnixMs;
use windlass::job::Lane;
use windlass::job::gates::KeyName;

/// When limit keys, downstreams, plugins and the host were refused last, and whether they have been admitted since.
#[derive(Debug, Default)]
pub struct Refusals {
    keys: BTreeMap<KeyName, Refused>,
    downstreams: BTreeMap<Lane, Refused>,
    plugins: BTreeMap<String, Refused>,
    host: UnixMs,
}

#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    at: UnixMs,
    still: bool,
}

impl Refused {
    /// When it was closed last: now, where nobody was admitted since.
    fn admitted(&mut self, now: UnixMs) -> UnixMs {
        if std::mem::take(&mut self.still) {
            self.at = now;
        }
        self.at
    }
}

impl Refusals {
    pub fn key(&mut self, lane: &Lane, at: UnixMs) {
        self.keys.extend(lane.key().map(|name| (name, Refused { at, still: true })));
    }

    pub fn downstream(&mut self, lane: &Lane, at: UnixMs) {
        self.downstreams.insert(lane.whole().into_owned(), Refused { at, still: true });
    }

    pub fn plugin(&mut self, plugin: &str, at: UnixMs) {
        self.plugins.insert(plugin.to_owned(), Refused { at, still: true });
    }

    pub fn host(&mut self, at: UnixMs) {
        self.host = at;
    }

    /// A job of that lane begins now: when its way was closed last.
    pub fn admitted(&mut self, lane: &Lane, now: UnixMs) -> UnixMs {
        let of_key = lane.key().and_then(|name| self.keys.get_mut(&name)).map(|refused| refused.admitted(now));
        let of_downstream = self.downstreams.get_mut(&*lane.whole()).map(|refused| refused.admitted(now));
        let of_plugin = self.plugins.get_mut(&*lane.plugin).map(|refused| refused.admitted(now));
        of_key.max(of_downstream).max(of_plugin).unwrap_or_default().max(self.host)
    }
}
