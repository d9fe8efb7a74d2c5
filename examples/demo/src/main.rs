//! All of it on real servers: models that are called, Kafka, Telegraf with the shipped telegraf.conf and
//! telegraf-algorithmia, InfluxDB with the shipped templates, and a web server in place of Slack that hears when a model
//! drifts: of its drift, and of the scores that come of it.
//!
//! ```sh
//! cargo run --release -p demo
//! cargo run --release -p demo -- --rate 200 --history 3h
//! cargo run --release -p demo -- --once
//! ```

mod pictures;
mod program;
mod servers;
mod state;
mod story;
mod traffic;
mod verdict;
mod view;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use signal_hook::consts::{SIGHUP, TERM_SIGNALS};
use signal_hook::flag;
use stack::Dir;

use crate::pictures::Painter;
use crate::servers::Servers;
use crate::state::State;
use crate::story::Story;
use crate::traffic::{Ledger, Traffic};
use crate::view::{Scene, View, number, put};
use fixtures::models::Simulation;

/// How often the servers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Ctrl-C is heeded within this time.
const HEED_EVERY: Duration = Duration::from_millis(50);

/// What is due by then has been given up: alerts come 2 minutes after what they tell of, and ends 3 minutes later.
const PATIENCE: Duration = Duration::from_secs(600);

/// telegraf-algorithmia has to report twice before every cell of the dashboard of the pipeline has something to show, and some
/// more times before that looks like something.
const REPORTS: usize = 2;
const REPORTS_FOR_PICTURES: usize = 6;

/// Minutes before the start that are counted, and compared with those before them: as many as it takes to compare the
/// first minute, and as many as look like something.
const NEEDED: (i32, i32) = (15, 10);
const PICTURED: (i32, i32) = (25, 20);

/// Shows models, pipeline and alerts on real servers, started for the purpose
#[derive(Parser)]
struct Args {
    /// Calls per second, of all models together
    #[arg(long, value_name = "CALLS", default_value = "100", value_parser = rate)]
    rate: f64,

    /// For how long the models have been called when the demo starts, such as 3h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = history)]
    history: SignedDuration,

    /// What all chance follows from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// End when the alerts have come and are over, and say whether all is as it should be: exit status 0, else 1
    #[arg(long, conflicts_with = "pictures")]
    once: bool,

    /// End when the alerts have come and every dashboard is drawn into a PNG file in this folder (needs Node.js and Chromium)
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().map_err(|error| error.to_string())?;
    // Below, a minute has not enough calls of the model that drifts.
    if (50.0..=5000.0).contains(&rate) { Ok(rate) } else { Err("it has to be between 50 and 5000".to_owned()) }
}

fn history(text: &str) -> Result<SignedDuration, String> {
    let history = text.parse::<SignedDuration>().map_err(|error| error.to_string())?;
    // Below, there is nothing that could have drifted away from.
    let allowed = SignedDuration::from_hours(1)..=SignedDuration::from_hours(24 * 7);
    if allowed.contains(&history) { Ok(history) } else { Err("it has to be between 1h and 168h".to_owned()) }
}

/// Why the demo ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Ctrl-C, or another signal.
    Interrupted,
    /// All has happened that there was to wait for.
    Done,
    /// It has not, and time is up.
    Late,
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|error| {
        say(format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Tells people who wait.
fn say(message: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "[demo]  {}", message.as_ref());
}

fn run(args: &Args) -> Result<ExitCode> {
    servers::prepare()?;
    let program = program::provide()?;
    let painter = args.pictures.as_deref().map(Painter::new).transpose()?;

    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in TERM_SIGNALS.iter().chain(&[SIGHUP]) {
        // The second time it does what it always does.
        flag::register_conditional_default(*signal, Arc::clone(&interrupted))?;
        flag::register(*signal, Arc::clone(&interrupted))?;
    }
    let dir = Dir::new("demo")?;
    let result = perform(args, &dir, program, painter.as_ref(), &interrupted);
    if interrupted.load(Ordering::SeqCst) {
        // Whatever came of it: what the demo started may have heard Ctrl-C too.
        say("interrupted, and ends");
        return Ok(if args.once || painter.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    if !matches!(result, Ok(true)) {
        // For the logs in it.
        dir.keep();
    }
    Ok(if result? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts everything, and watches it until the end. Gives whether all is as it should be.
fn perform(
    args: &Args,
    dir: &Dir,
    program: PathBuf,
    painter: Option<&Painter>,
    interrupted: &AtomicBool,
) -> Result<bool> {
    let servers = Servers::start(dir, program, interrupted)?;

    let now = Timestamp::now();
    let first = now - args.history;
    let mut simulation = Simulation::new(args.seed, args.rate, first, now);
    let mut ledger = Ledger::default();
    let mut history = 0;
    let mut written = |request| {
        history += 1;
        if args.once {
            ledger.requests.insert(request);
        }
    };
    let end = servers.write_history(&mut simulation, first, interrupted, &mut written)?;
    let (counted, compared) = if painter.is_some() { PICTURED } else { NEEDED };
    servers.compare_history(end, counted, compared, interrupted)?;
    // That took its time.
    let start = servers.write_history(&mut simulation, end, interrupted, &mut written)?;

    let mut story = if args.once { Story::of_one_minute(start) } else { Story::without_end(start) };
    simulation.go_wrong();
    simulation.break_out(story.breaks_out);
    if let Some(repaired) = story.repaired {
        simulation.repair(repaired);
    }
    let addresses = servers.addresses();
    put(&format!("\n{}\n\n{}\n\n", addresses.join("\n"), servers.directions()?.join("\n")));

    let traffic = Traffic::new(&servers.kafka, simulation, args.once);
    let mut state = State::default();
    let end = thread::scope(|scope| {
        let sender = scope.spawn(|| traffic.run());
        let mut view = View::new();
        let watched = (|| {
            loop {
                state.observe(&servers, start)?;
                story.go_on(&state);
                // Somebody reads Slack, and sees to it. On the pictures the alert is still to be seen.
                if story.is_told() && story.repaired.is_none() && painter.is_none() {
                    story.repaired = Some(traffic.repair());
                }
                let sent = traffic.sent();
                view.show(&Scene { start, history, addresses: &addresses, sent: &sent, state: &state, story: &story });
                let done = match painter {
                    Some(_) => story.is_told() && state.reports >= REPORTS_FOR_PICTURES,
                    None => args.once && story.is_over() && state.reports >= REPORTS,
                };
                if done {
                    return Ok(End::Done);
                }
                let running = Timestamp::now().duration_since(start).unsigned_abs();
                if (args.once || painter.is_some()) && running > PATIENCE {
                    return Ok(End::Late);
                }
                let look = Instant::now() + LOOK_EVERY;
                while Instant::now() < look {
                    if interrupted.load(Ordering::SeqCst) {
                        return Ok(End::Interrupted);
                    }
                    if sender.is_finished() {
                        bail!("no more calls are sent");
                    }
                    thread::sleep(HEED_EVERY);
                }
            }
        })();
        traffic.stop();
        // Why it has ended is more than that it has.
        match sender.join() {
            Ok(Ok(())) => watched,
            Ok(Err(error)) => Err(error),
            Err(_) => bail!("the thread that sends calls has panicked"),
        }
    })?;

    match (end, painter) {
        (End::Interrupted, _) => Ok(true),
        (End::Done, Some(painter)) => {
            painter.paint(&servers.influxdb)?;
            Ok(true)
        }
        (End::Late, Some(_)) => bail!(
            "the alerts, and {REPORTS_FOR_PICTURES} reports of telegraf-algorithmia, have not come within {} minutes",
            PATIENCE.as_secs() / 60
        ),
        (End::Done | End::Late, None) => {
            let sent = traffic.into_sent();
            let made = sent.ledger.clone().context("no ledger was kept")?;
            ledger.requests.extend(made.requests);
            ledger.bad.extend(made.bad);
            let findings = verdict::reach(&servers, &state, &sent, &ledger, start)?;
            put(&format!("\n{} messages were sent to Kafka.\n", number(sent.messages)));
            for finding in &findings {
                put(&match &finding.flaws[..] {
                    [] => format!("ok      {}\n", finding.what),
                    flaws => format!("FAILED  {}:\n  {}\n", finding.what, flaws.join("\n  ")),
                });
            }
            Ok(findings.iter().all(|finding| finding.flaws.is_empty()))
        }
    }
}
