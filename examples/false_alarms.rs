//! Makes the table of false alarms of docs/drift.md.
//!
//! ```sh
//! cargo run --release --example false_alarms
//! ```

fn main() {
    print!("{}", fixtures::false_alarms::table());
}
