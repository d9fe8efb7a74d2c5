//! How often the PSI of a metric that has not changed exceeds the bounds of Drift Alert all the same, by the number of calls.
//!
//! ```sh
//! cargo run --release --example false_alarms
//! ```

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Binomial, Distribution};

/// Comparisons for each line of the table.
const DRAWS: u32 = 10_000;

/// Calls in the interval, and in the reference: 168 times as many are those of a week; less, a reference that begins.
const SIZES: [(u64, u64); 6] =
    [(200, 168 * 200), (300, 168 * 300), (500, 168 * 500), (1_000, 168 * 1_000), (500, 500), (500, 2_000)];

/// The values that edges are laid by, and which of them, in their order, are edges.
const SAMPLE: usize = 512;
const FIRST: usize = 24;
const STEP: usize = 8;

fn main() {
    print!("{}", table());
}

/// The table of docs/drift.md, without its heading.
pub fn table() -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut table = String::new();
    for (current, reference) in SIZES {
        let (mut sum, mut warn, mut crit) = (0.0, 0, 0);
        for _ in 0..DRAWS {
            let widths = widths(&mut rng);
            let psi = psi(&counts(&mut rng, reference, &widths), &counts(&mut rng, current, &widths));
            sum += psi;
            warn += u32::from(psi > 0.1);
            crit += u32::from(psi > 0.25);
        }
        let share = |count: u32| match count {
            0 => format!("none of {}", thousands(DRAWS.into())),
            count => format!("{:.2} %", 100.0 * f64::from(count) / f64::from(DRAWS)),
        };
        table += &format!(
            "| {} | {} | {:.3} | {} | {} |\n",
            thousands(current),
            thousands(reference),
            sum / f64::from(DRAWS),
            share(warn),
            share(crit)
        );
    }
    table
}

fn thousands(number: u64) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", number / 1_000, number % 1_000) }
}

/// The probability of each interval between edges, and of what is above the last. PSI depends on the order of values alone, so
/// an even distribution stands for all that are continuous.
fn widths(rng: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    let mut sample: Vec<f64> = (0..SAMPLE).map(|_| rng.random()).collect();
    sample.sort_by(f64::total_cmp);
    let mut below = 0.0;
    let edges = sample.into_iter().skip(FIRST - 1).step_by(STEP).chain([1.0]);
    edges.map(|edge| edge - std::mem::replace(&mut below, edge)).collect()
}

/// How many of so many values fall into each.
fn counts(rng: &mut Xoshiro256PlusPlus, total: u64, widths: &[f64]) -> Vec<u64> {
    let (mut rest, mut room) = (total, 1.0);
    let count = |width: &f64| {
        let share = (width / room).clamp(0.0, 1.0);
        let count = Binomial::new(rest, share).expect("a share is between 0 and 1").sample(rng);
        rest -= count;
        room -= width;
        count
    };
    widths.iter().map(count).collect()
}

/// As docs/drift.md defines it.
fn psi(reference: &[u64], current: &[u64]) -> f64 {
    let sizes = [reference, current].map(|counts| counts.iter().sum::<u64>());
    let (mut below, mut bin, mut decile, mut psi) = ([0; 2], [0; 2], 0, 0.0);
    for (index, counts) in reference.iter().zip(current).enumerate() {
        for ((below, bin), count) in below.iter_mut().zip(&mut bin).zip([counts.0, counts.1]) {
            *below += count;
            *bin += count;
        }
        let reached = 10 * below[0] / sizes[0];
        let last = index + 1 == reference.len();
        if last || reached > decile && reached < 10 {
            let [p, q] = [0, 1].map(|side| (bin[side] as f64 + 0.5) / (sizes[side] as f64 + 5.0));
            psi += (q - p) * (q / p).ln();
            (bin, decile) = ([0; 2], reached);
        }
    }
    psi
}
