//! The table that is printed, and the arithmetic behind its figures.

#[path = "../../tests/common/number.rs"]
mod number;

pub use number::number;

/// How many rounds each comparison has, unless `BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 5;
/// How many jobs wait, or have ended, where there are many, unless `BENCH_ROWS` says otherwise.
const ROWS: usize = 1_000_000;

/// How many rounds each comparison has.
pub fn rounds() -> usize {
    number("BENCH_ROUNDS").unwrap_or(ROUNDS)
}

/// How many jobs there are where there are many.
pub fn rows() -> usize {
    number("BENCH_ROWS").unwrap_or(ROWS)
}

/// The head of the table.
pub fn head() {
    print("figure", "measured", "limit", "ratio", "goal");
}

/// One line of the table: what was measured, beside its limit.
pub fn line(name: &str, measured: &str, limit: &str, ratio: Option<f64>, goal: &str) {
    print(name, measured, limit, &ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")), goal);
}

/// Two lines: how many a second, and what each of them costs, of a side beside its limit.
pub fn against(name: &str, cost: &str, side: &Series, limit: &Series, goal: &str) {
    let show = |name: &str, column, told: fn(f64) -> String, goal: &str| {
        line(name, &told(side.median(column)), &told(limit.median(column)), Some(side.ratio(limit, column)), goal);
    };
    show(name, RATE, per_second, goal);
    show(cost, CPU_US, us, "");
}

/// A line without a limit.
pub fn note(name: &str, measured: &str, goal: &str) {
    print(name, measured, "", "", goal);
}

fn print(name: &str, measured: &str, limit: &str, ratio: &str, goal: &str) {
    println!("{name:<60} {measured:>20} {limit:>18} {ratio:>6} {goal:>14}");
}

/// Something a second.
pub fn per_second(rate: f64) -> String {
    format!("{rate:.0}/s")
}

/// Microseconds.
pub fn us(us: f64) -> String {
    format!("{us:.1} us")
}

/// The latencies that people ask for, of many in milliseconds: the median, the 99th and the 99.9th percentile.
pub fn three(latencies_ms: &[f64]) -> String {
    let at = |share| percentile(latencies_ms, share);
    format!("{:.2}/{:.1}/{:.1} ms", at(0.5), at(0.99), at(0.999))
}

/// The median and the 99th percentile of many, in milliseconds.
pub fn two(latencies_ms: &[f64]) -> String {
    format!("{:.2}/{:.2} ms", percentile(latencies_ms, 0.5), percentile(latencies_ms, 0.99))
}

/// The middle one.
pub fn median(values: Vec<f64>) -> f64 {
    percentile(&values, 0.5)
}

/// The value that this share of all is not above.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// What one side of a comparison measured: the same few numbers each round.
#[derive(Default)]
pub struct Series {
    rounds: Vec<Vec<f64>>,
}

impl Series {
    /// Adds the numbers of one round.
    pub fn push(&mut self, numbers: Vec<f64>) {
        self.rounds.push(numbers);
    }

    /// The median of the number in that column.
    pub fn median(&self, column: usize) -> f64 {
        median(self.rounds.iter().map(|numbers| numbers[column]).collect())
    }

    /// The median of this side's number over the other's, round by round.
    pub fn ratio(&self, other: &Self, column: usize) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(own, others)| own[column] / others[column]).collect())
    }
}

/// Where a side's numbers begin with them: how many a second.
pub const RATE: usize = 0;
/// And what each cost: CPU microseconds of the process.
pub const CPU_US: usize = 1;
