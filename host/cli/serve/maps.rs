//! Whether the system lets the process have as many mappings of memory as its instances can take.

use crate::config::Limits;
use crate::plugin::instances_max;

/// Mappings that a place for an instance takes from the start: `cargo bench --bench figures -- suspended` counts them.
const A_PLACE: u64 = 2;
/// More of them while an attempt runs in it, of a component with one memory; the same bench counts these.
const AN_ATTEMPT: u64 = 4;
/// Everything else: the program, its threads, its heap.
const OTHERS: u64 = 1_000;
/// Where Linux says how many a process may have.
const ALLOWED: &str = "/proc/sys/vm/max_map_count";

/// Warns where so many attempts at once can take more than there may be. Says nothing where the system has no such bound.
pub(super) fn check(limits: &Limits) {
    let (concurrency, places) = (limits.concurrency, instances_max(limits));
    let allowed = std::fs::read_to_string(ALLOWED).ok().and_then(|text| text.trim().parse().ok());
    if let Some(warning) = allowed.and_then(|allowed| warning(concurrency.into(), places.into(), allowed)) {
        tracing::warn!(limits.concurrency = concurrency, "{warning}");
    }
}

fn warning(concurrency: u64, places: u64, allowed: u64) -> Option<String> {
    let beside_attempts = OTHERS + A_PLACE * (places - concurrency);
    let needed = beside_attempts + (A_PLACE + AN_ATTEMPT) * concurrency;
    let fits = allowed.saturating_sub(beside_attempts) / (A_PLACE + AN_ATTEMPT);
    (needed > allowed).then(|| {
        format!(
            "the system allows {allowed} mappings of memory, and {concurrency} attempts at once can take {needed}: raise it \
             (sysctl vm.max_map_count={needed}) or set limits.concurrency to at most {fits}, else attempts beyond that fail \
             to start and are tried again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_mappings_are_told_with_what_fits() {
        let warning = |concurrency, allowed| warning(concurrency, concurrency + 80, allowed);
        assert_eq!(warning(10_000, 65_530), None);
        let told = warning(20_000, 65_530).unwrap();
        assert!(
            told.contains("65530") && told.contains("vm.max_map_count=121160") && told.contains("at most 10728"),
            "{told}"
        );
        assert_eq!(warning(10_728, 65_530), None, "what is named fits");
        assert!(warning(10_729, 65_530).is_some());
        assert!(warning(1, 0).unwrap().contains("at most 0"));
    }
}
