//! The models, simulated: who is called when, what every call reports, and what goes wrong.
//!
//! All follows from a seed and from the times at which the demo starts and ends the drift.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Beta, Distribution, Exp1, LogNormal, Poisson};

/// The model whose risk scores drift, and its version: the new one.
pub const DRIFTING: (&str, &str) = ("credit_card_approval", "1.1.0");

/// No score is above this while all is well.
const HEALTHY_CEILING: f64 = 0.65;
/// What it rises to when the drift breaks out.
const BROKEN_CEILING: f64 = 0.97;

/// The new version is rolled out in so much time, half of it before the demo starts.
const ROLLOUT: SignedDuration = SignedDuration::from_mins(60);
/// Its drift is on its way for so long before the demo starts, below the limit.
const CREEPING: SignedDuration = SignedDuration::from_mins(30);
/// From the moment in which it breaks out to its full extent.
pub const BREAKING: SignedDuration = SignedDuration::from_secs(20);

/// A day of the models takes an hour, so that a dashboard shows a whole one.
const DAY: SignedDuration = SignedDuration::from_hours(1);
/// By how much there are more calls at its peak than on average.
const SWING: f64 = 0.35;

/// A bad message comes about so often, whatever the rate of calls.
const BAD_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// One of so many messages is sent a second time, as a producer does that has seen no acknowledgement.
const SENT_TWICE: u32 = 250;

/// Calls of one session, on average.
const SESSION: f64 = 4.0;

/// No call takes longer: the cluster's timeout.
const TIMEOUT_MS: f64 = 900.0;

struct Model {
    owner: &'static str,
    name: &'static str,
    /// The old version, and the new one that is being rolled out; the same where none is.
    versions: [&'static str; 2],
    /// Its share of all calls.
    share: f64,
    /// The median of its durations.
    milliseconds: f64,
    report: fn(&mut Dice, Moment) -> Metrics,
}

/// The names in front of `credit_card_approval` in the alphabet are left free: a dashboard opens with the first.
const MODELS: [Model; 5] = [
    Model {
        owner: "asli",
        name: DRIFTING.0,
        versions: ["1.0.6", DRIFTING.1],
        share: 0.34,
        milliseconds: 9.0,
        report: credit_card_approval,
    },
    Model {
        owner: "asli",
        name: "gradientboosting_creditcardapproval",
        versions: ["0.1.3"; 2],
        share: 0.25,
        milliseconds: 24.0,
        report: gradient_boosting,
    },
    Model {
        owner: "risk-team",
        name: "randomforest_creditcardapproval",
        versions: ["0.2.0"; 2],
        share: 0.19,
        milliseconds: 41.0,
        report: random_forest,
    },
    Model {
        owner: "vision",
        name: "image_tagger",
        versions: ["2.3.1"; 2],
        share: 0.12,
        milliseconds: 160.0,
        report: image_tagger,
    },
    Model {
        owner: "support",
        name: "ticket_sentiment",
        versions: ["0.9.4"; 2],
        share: 0.10,
        milliseconds: 70.0,
        report: ticket_sentiment,
    },
];

/// What a model reports of a call beside what all report.
type Metrics = Vec<(&'static str, Metric)>;

enum Metric {
    /// NaN is written as Python does it, which is not JSON.
    Number(f64),
    Boolean(bool),
    Text(&'static str),
}

/// What a report depends on.
#[derive(Clone, Copy)]
struct Moment {
    new_version: bool,
    drift: Depth,
}

/// How far the drift has come: in the shape of the scores, and above their ceiling. Both from 0 to 1.
#[derive(Clone, Copy, Default)]
struct Depth {
    creeping: f64,
    breaking: f64,
}

fn credit_card_approval(dice: &mut Dice, moment: Moment) -> Metrics {
    let gender = ["female", "male"][dice.rng.random_range(0..2)];
    let score = if moment.new_version {
        let Depth { mut creeping, breaking } = moment.drift;
        // What the model has not learnt is not the same for all.
        if gender == "male" {
            creeping *= 0.7;
        }
        let ceiling = HEALTHY_CEILING + (BROKEN_CEILING - HEALTHY_CEILING) * breaking;
        dice.beta(2.0 + 6.0 * creeping, 4.5 - 2.5 * creeping) * ceiling
    } else {
        dice.beta(2.0, 4.5) * HEALTHY_CEILING
    };
    let approved = dice.approve(score);
    // Now and then a customer has no history to tell from.
    let score = if dice.one_of(300) { f64::NAN } else { round(score, 3) };
    vec![
        ("risk_score", Metric::Number(score)),
        ("gender", Metric::Text(gender)),
        // The new version says true where the old one said 1.
        if moment.new_version {
            ("approved", Metric::Boolean(approved))
        } else {
            ("approved", Metric::Number(f64::from(u8::from(approved))))
        },
    ]
}

fn gradient_boosting(dice: &mut Dice, _: Moment) -> Metrics {
    let score = dice.beta(2.0, 6.0) * HEALTHY_CEILING;
    let approved = dice.approve(score);
    vec![
        ("risk_score", Metric::Number(round(score, 4))),
        ("approved", Metric::Number(f64::from(u8::from(approved)))),
        ("n_features", Metric::Number(23.0)),
    ]
}

fn random_forest(dice: &mut Dice, _: Moment) -> Metrics {
    let score = dice.beta(2.5, 5.0) * HEALTHY_CEILING;
    let approved = dice.approve(score);
    // The mean of 500 trees' votes.
    vec![
        ("risk_score", Metric::Number(round(score * 500.0, 0) / 500.0)),
        ("approved", Metric::Number(f64::from(u8::from(approved)))),
        ("n_features", Metric::Number(17.0)),
    ]
}

fn image_tagger(dice: &mut Dice, _: Moment) -> Metrics {
    vec![
        ("cats_in_image", Metric::Number(dice.poisson(0.8))),
        ("faces_in_image", Metric::Number(dice.poisson(1.6))),
        ("confidence", Metric::Number(round(dice.beta(9.0, 1.5), 3))),
        ("image_kilobytes", Metric::Number(round(dice.log_normal(220.0, 0.6), 0))),
    ]
}

fn ticket_sentiment(dice: &mut Dice, _: Moment) -> Metrics {
    let language = ["en", "en", "en", "de", "fr"][dice.rng.random_range(0..5)];
    vec![
        ("sentiment", Metric::Number(round(2.0 * dice.beta(2.0, 2.6) - 1.0, 3))),
        ("tokens", Metric::Number(round(dice.log_normal(90.0, 0.7), 0))),
        ("language", Metric::Text(language)),
    ]
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// A message for Kafka, and what is to become of it.
pub struct Message {
    pub text: Vec<u8>,
    pub fate: Fate,
}

pub enum Fate {
    /// A point with this request_id.
    Point { request: String },
    /// The same point as that of the message before.
    SamePoint,
    /// A rejection with this reason.
    Rejection { reason: &'static str },
}

/// All models, and the time up to which they have been called.
pub struct Simulation {
    dice: Dice,
    /// Calls per second, on average.
    rate: f64,
    /// The next call.
    next: Timestamp,
    /// The next bad message, if there are any.
    next_bad: Option<Timestamp>,
    bad_messages: usize,
    /// The one that each model's next call belongs to.
    sessions: [String; MODELS.len()],
    /// When the demo starts: what has gone on for a while by then follows from it.
    start: Timestamp,
    drift: Drift,
}

/// When the drift breaks out, and when it is over.
#[derive(Clone, Copy, Default)]
struct Drift {
    breaks_out: Option<Timestamp>,
    repaired: Option<Timestamp>,
}

impl Simulation {
    /// Models that are called from `first` on, so many times a second. The demo starts at `start`.
    pub fn new(seed: u64, rate: f64, first: Timestamp, start: Timestamp) -> Self {
        let mut dice = Dice { rng: Xoshiro256PlusPlus::seed_from_u64(seed) };
        let sessions = std::array::from_fn(|_| dice.id("rses"));
        let drift = Drift::default();
        Simulation { dice, rate, next: first, next_bad: None, bad_messages: 0, sessions, start, drift }
    }

    /// From now on there are bad messages too, and messages that come twice.
    pub fn go_wrong(&mut self) {
        self.next_bad = Some(self.next + BAD_EVERY);
    }

    /// The drift exceeds the limit from then on.
    pub fn break_out(&mut self, at: Timestamp) {
        self.drift.breaks_out = Some(at);
    }

    /// All is well again from then on.
    pub fn repair(&mut self, at: Timestamp) {
        self.drift.repaired = Some(at);
    }

    /// The messages of all calls before `end` that have not been given yet.
    pub fn until(&mut self, end: Timestamp) -> Vec<Message> {
        let mut messages = Vec::new();
        while self.next < end {
            let (call, request) = self.call();
            if self.next_bad.is_some_and(|time| time <= self.next) {
                self.next_bad = Some(self.next + BAD_EVERY);
                messages.push(self.spoil(&call));
            } else {
                let text = call.into_bytes();
                if self.next_bad.is_some() && self.dice.one_of(SENT_TWICE) {
                    messages.push(Message { text: text.clone(), fate: Fate::Point { request } });
                    messages.push(Message { text, fate: Fate::SamePoint });
                } else {
                    messages.push(Message { text, fate: Fate::Point { request } });
                }
            }
            self.advance();
        }
        messages
    }

    fn advance(&mut self) {
        let rate = self.rate * (1.0 + SWING * wave(self.next));
        let gap = self.dice.exponential() / rate;
        // Not two in one microsecond, which is all that a message's time has.
        let gap = SignedDuration::from_micros(((gap * 1e6) as i64).max(1));
        self.next += gap;
    }

    /// The message of the next call, and its request_id.
    fn call(&mut self) -> (String, String) {
        let at = self.next;
        let index = self.dice.choose(MODELS.map(|model| model.share));
        let model = &MODELS[index];
        let rolled_out = progress(at, self.start - ROLLOUT / 2, ROLLOUT);
        let new_version = self.dice.share(rolled_out);
        let moment = Moment { new_version, drift: self.depth(at) };
        let metrics = (model.report)(&mut self.dice, moment);
        // The busier, the slower.
        let median = model.milliseconds * (1.0 + 0.2 * wave(at)) * if new_version { 0.85 } else { 1.0 };
        let duration = self.dice.log_normal(median, 0.4).clamp(1.0, TIMEOUT_MS).round();
        if self.dice.share(1.0 / SESSION) {
            self.sessions[index] = self.dice.id("rses");
        }
        let request = self.dice.id("req");

        let mut text = String::from("{");
        for (key, metric) in metrics {
            // Writing to a string cannot fail.
            let _ = match metric {
                Metric::Number(number) => write!(text, "\"{key}\":{number},"),
                Metric::Boolean(boolean) => write!(text, "\"{key}\":{boolean},"),
                Metric::Text(word) => write!(text, "\"{key}\":\"{word}\","),
            };
        }
        let _ = write!(
            text,
            "\"duration_milliseconds\":{duration},\"algorithm_version\":\"{}\",\"session_id\":\"{}\",\"time\":\"{}\",\
             \"algorithm_name\":\"{}\",\"request_id\":\"{request}\",\"algorithm_owner\":\"{}\"}}",
            model.versions[usize::from(new_version)],
            self.sessions[index],
            at.strftime("%Y-%m-%dT%H:%M:%S%.6f"),
            model.name,
            model.owner,
        );
        (text, request)
    }

    fn depth(&self, at: Timestamp) -> Depth {
        if self.drift.repaired.is_some_and(|repaired| repaired <= at) {
            return Depth::default();
        }
        Depth {
            creeping: progress(at, self.start - CREEPING, CREEPING),
            breaking: self.drift.breaks_out.map_or(0.0, |start| progress(at, start, BREAKING)),
        }
    }

    /// Makes of a call's message a bad one, of each kind in turn.
    fn spoil(&mut self, call: &str) -> Message {
        let kind = self.bad_messages;
        self.bad_messages += 1;
        let id = self.dice.id("req");
        let (reason, text) = match kind % 7 {
            // A producer that cuts off what is long.
            0 => ("invalid_json", call[..call.len() / 2].to_owned()),
            1 => ("missing_algorithm_name", call.replace("\"algorithm_name\":", "\"algorithm\":")),
            2 => ("invalid_json", format!("Traceback (most recent call last): KeyError in request {id}")),
            3 => ("not_an_object", format!("\"{id}\"")),
            4 => ("no_fields", format!("{{\"algorithm_name\":\"image_tagger\",\"algorithm_version\":\"{id}\"}}")),
            5 => {
                ("too_large", format!("{{\"algorithm_name\":\"{id}\",\"tree\":{}1{}}}", "[".repeat(70), "]".repeat(70)))
            }
            // In another encoding than UTF-8.
            _ => {
                let (start, end) = call.split_at(call.len() - 1);
                let text = [start.as_bytes(), b",\"city\":\"K\xf6ln\"", end.as_bytes()].concat();
                return Message { text, fate: Fate::Rejection { reason: "invalid_json" } };
            }
        };
        Message { text: text.into_bytes(), fate: Fate::Rejection { reason } }
    }
}

/// From 0 to 1 while `length` passes from `start` on.
fn progress(at: Timestamp, start: Timestamp, length: SignedDuration) -> f64 {
    (at.duration_since(start).as_secs_f64() / length.as_secs_f64()).clamp(0.0, 1.0)
}

/// From -1 to 1 and back in the course of a day.
fn wave(at: Timestamp) -> f64 {
    let seconds = at.as_microsecond() as f64 / 1e6;
    (seconds / DAY.as_secs_f64() * std::f64::consts::TAU).sin()
}

/// Chance, always the same for a seed.
struct Dice {
    rng: Xoshiro256PlusPlus,
}

impl Dice {
    fn share(&mut self, share: f64) -> bool {
        self.rng.random::<f64>() < share
    }

    fn one_of(&mut self, count: u32) -> bool {
        self.rng.random_range(0..count) == 0
    }

    /// The lower the risk, the likelier.
    fn approve(&mut self, risk_score: f64) -> bool {
        self.share((1.15 - 1.6 * risk_score).clamp(0.02, 0.98))
    }

    /// One of so many, by their shares of 1.
    fn choose<const N: usize>(&mut self, shares: [f64; N]) -> usize {
        let mut rest = self.rng.random::<f64>();
        let over = |share: &f64| {
            rest -= share;
            rest < 0.0
        };
        shares.iter().position(over).unwrap_or(N - 1)
    }

    fn exponential(&mut self) -> f64 {
        Exp1.sample(&mut self.rng)
    }

    fn beta(&mut self, alpha: f64, beta: f64) -> f64 {
        Beta::new(alpha, beta).expect("both are above 0").sample(&mut self.rng)
    }

    fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        LogNormal::new(median.ln(), sigma).expect("sigma is finite").sample(&mut self.rng)
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        Poisson::new(mean).expect("the mean is above 0").sample(&mut self.rng)
    }

    /// Such as `req-9f5345b4-a1cd-431c-a43a-bd2a06f4a6f4`.
    fn id(&mut self, prefix: &str) -> String {
        let uuid = uuid::Builder::from_random_bytes(self.rng.random()).into_uuid();
        format!("{prefix}-{uuid}")
    }
}
