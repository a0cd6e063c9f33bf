//! The one rule by which plugins share what the host has only so much of: places for attempts, waiting instances,
//! sockets, and what the queue has above its mark.
//!
//! A holder may take one more place while it holds less than a multiple of what is *free* (dynamic thresholds, after
//! Choudhury and Hahne, 1998, by which switches share their buffers). So nobody holds everything, whoever comes finds a
//! place at once, and the more holders there are, the less each is given: all of them, without anybody being counted or
//! told. Who holds nothing may take the last place; who holds something never does.

/// The rule, for one kind of place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// A holder stays below so many times what is free.
    per_free: f64,
}

impl Default for Share {
    /// Nine tenths.
    fn default() -> Self {
        Self::new(0.9)
    }
}

impl Share {
    /// One holder alone gets at most this share of all places, two that both want all get `s / (1 + s)` each, and so on.
    /// From 0 on; 1 and above: nothing is kept free.
    #[must_use]
    pub fn new(largest: f64) -> Self {
        // To a millionth, so that nine tenths mean nine to one.
        let rounded = |ratio: f64| (ratio * 1e6).round() / 1e6;
        let per_free = if largest < 1.0 { rounded(largest.max(0.0) / (1.0 - largest)) } else { f64::INFINITY };
        Self { per_free }
    }

    /// Whether who holds so many may take one of so many free places.
    #[must_use]
    pub fn admits(self, held: u64, free: u64) -> bool {
        match (held, free) {
            (_, 0) => false,
            (0, _) => true,
            _ if self.per_free.is_infinite() => true,
            (_, 1) => false,
            (held, free) => (held as f64) < self.per_free * free as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What holders get that all want everything, served in turn.
    fn fill(share: Share, places: u64, holders: usize) -> Vec<u64> {
        let mut held = vec![0; holders];
        let mut free = places;
        loop {
            let before = free;
            for held in &mut held {
                if share.admits(*held, free) {
                    (*held, free) = (*held + 1, free - 1);
                }
            }
            if before == free {
                return held;
            }
        }
    }

    #[test]
    fn the_figures_that_the_page_tells() {
        let share = Share::new(0.9);
        assert_eq!(fill(share, 256, 1), [231]);
        assert_eq!(fill(share, 256, 2), [122, 121]);
        assert_eq!(fill(share, 256, 4), [63, 63, 62, 62]);
        assert_eq!(fill(share, 10, 1), [9]);
        assert_eq!(fill(share, 2, 1), [1]);
        assert_eq!(fill(share, 1, 1), [1]);
        assert_eq!(fill(Share::new(1.0), 256, 1), [256]);
        assert_eq!(fill(Share::new(0.5), 256, 1), [128]);
    }

    proptest! {
        /// However many want everything: who comes anew finds a place, and none has much more than another.
        #[test]
        fn a_newcomer_finds_a_place(largest in 0.1_f64..0.99, places in 2_u64..2_000, holders in 1_usize..300) {
            let share = Share::new(largest);
            let held = fill(share, places, holders);
            let free = places - held.iter().sum::<u64>();
            let (least, most) = (held.iter().min().copied().unwrap_or(0), held.iter().max().copied().unwrap_or(0));
            prop_assert!(most - least <= 1, "{held:?}");
            prop_assert!(free >= 1 || holders as u64 >= places, "{held:?} leave nothing of {places}");
            prop_assert!(free == 0 || share.admits(0, free));
        }

        /// The less one holds and the more is free, the sooner it is admitted.
        #[test]
        fn it_is_monotonic(largest in 0.0_f64..1.2, held in 0_u64..500, free in 0_u64..500) {
            let share = Share::new(largest);
            if share.admits(held, free) {
                prop_assert!(share.admits(held, free + 1) && share.admits(held.saturating_sub(1), free));
            }
        }
    }
}
