//! The messages that are measured.

use clap::ValueEnum;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::json;

/// What messages look like. The same messages every time, each with a request_id and a microsecond of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// As in Algorithmia's tutorial: two metrics, 285 bytes
    Tutorial,
    /// 25 metrics, all of them numbers, which is as many as Algorithmia allows
    Metrics25,
    /// 25 metrics, nine of them long texts: 25 KB, which is as much as Algorithmia allows
    Large,
    /// As in the tutorial, but one in twenty is no good
    Bad,
}

/// The metrics of a model for credit cards. Those of the first group are between 0 and 1, as Python writes a float: with
/// all its digits. Those of the second are integers.
const SHARES: [&str; 17] = [
    "risk_score",
    "probability_default",
    "probability_fraud",
    "probability_churn",
    "confidence",
    "credit_utilization",
    "debt_to_income",
    "payment_ratio_3m",
    "payment_ratio_12m",
    "feature_drift",
    "psi_income",
    "psi_age",
    "shap_income",
    "shap_age",
    "shap_debt",
    "shap_employment",
    "anomaly_score",
];
const COUNTS: [&str; 8] =
    ["approved", "credit_limit", "income", "n_features", "n_missing", "accounts_open", "days_employed", "inquiries_6m"];

/// Texts that models send. What JSON has to escape is in all of them, and letters beyond ASCII.
const TEXTS: [&str; 9] = [
    "explanation",
    "prompt",
    "answer",
    "summary",
    "transcript",
    "customer_note",
    "top_features",
    "stack_trace",
    "raw_response",
];
const WORDS: [&str; 24] = [
    "the",
    "applicant",
    "said",
    "\"approved\"",
    "score",
    "0.72,",
    "überprüft",
    "income",
    "of",
    "£41,500",
    "because\n",
    "employment",
    "history",
    "is",
    "crédit",
    "C:\\models\\v3",
    "limit",
    "→",
    "declined",
    "by",
    "Łódź",
    "branch;",
    "see\tnote",
    "日本語",
];

impl Shape {
    pub const ALL: [Shape; 4] = [Shape::Tutorial, Shape::Metrics25, Shape::Large, Shape::Bad];

    pub fn name(self) -> &'static str {
        match self {
            Shape::Tutorial => "tutorial",
            Shape::Metrics25 => "metrics25",
            Shape::Large => "large",
            Shape::Bad => "bad",
        }
    }

    /// For a heading.
    pub fn title(self) -> &'static str {
        match self {
            Shape::Tutorial => "The tutorial's message",
            Shape::Metrics25 => "25 metrics",
            Shape::Large => "25 KB a message",
            Shape::Bad => "5 % bad messages",
        }
    }

    pub fn messages(self, count: u64) -> impl Iterator<Item = String> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(20_210_220);
        (0..count).map(move |index| match self {
            Shape::Tutorial => call(&risk_score(index), index, &mut random),
            Shape::Metrics25 => call(&numbers(&SHARES, &COUNTS, &mut random), index, &mut random),
            Shape::Large => {
                // Fewer numbers make room for the texts.
                let mut metrics = numbers(&SHARES[..10], &COUNTS[..6], &mut random);
                for name in TEXTS {
                    metrics.push_str(&format!(r#","{name}":{}"#, json!(text(&mut random))));
                }
                call(&metrics, index, &mut random)
            }
            Shape::Bad => {
                let message = call(&risk_score(index), index, &mut random);
                if index % 20 == 10 { spoil(message, index / 20) } else { message }
            }
        })
    }
}

fn risk_score(index: u64) -> String {
    format!(r#""risk_score":0.{}"#, 1 + index % 9)
}

fn numbers(shares: &[&str], counts: &[&str], random: &mut Xoshiro256PlusPlus) -> String {
    let shares = shares.iter().map(|name| (name, random.random::<f64>().to_string())).collect::<Vec<_>>();
    let counts = counts.iter().map(|name| (name, random.random_range(0..100_000).to_string())).collect::<Vec<_>>();
    let metrics = shares.iter().chain(&counts).map(|(name, value)| format!(r#""{name}":{value}"#));
    metrics.collect::<Vec<_>>().join(",")
}

/// So long that nine of them make the message one of 25 KB.
fn text(random: &mut Xoshiro256PlusPlus) -> String {
    const BYTES: usize = 2_570;
    let mut text = String::new();
    while text.len() < BYTES {
        text.push_str(WORDS[random.random_range(0..WORDS.len())]);
        text.push(' ');
    }
    text
}

/// A call of one algorithm at a random microsecond of a day.
fn call(metrics: &str, index: u64, random: &mut Xoshiro256PlusPlus) -> String {
    const DAY: u64 = 86_400_000_000;
    let micros = random.random_range(0..DAY);
    let (second, micro) = (micros / 1_000_000, micros % 1_000_000);
    format!(
        r#"{{{metrics},"duration_milliseconds":{},"algorithm_version":"1.0.6","session_id":"rses-{:016x}-5556-4aeb-a6d2","time":"2021-02-20T{:02}:{:02}:{:02}.{micro:06}","algorithm_name":"credit_card_approval","request_id":"req-{index:08}-a1cd-431c-a43a-{:016x}","algorithm_owner":"asli"}}"#,
        index % 50,
        random.random::<u64>(),
        second / 3600,
        second / 60 % 60,
        second % 60,
        random.random::<u64>(),
    )
}

/// What goes wrong, each as often as the others.
fn spoil(message: String, index: u64) -> String {
    match index % 5 {
        // A dictionary printed by Python.
        0 => message.replace('"', "'"),
        1 => message[..message.len() / 2].to_owned(),
        2 => message.replace("algorithm_name", "algorithm"),
        3 => format!("\"pong {index}\""),
        _ => format!("Traceback (most recent call last): KeyError: 'income' in call {index}"),
    }
}
