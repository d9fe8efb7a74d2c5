//! What happens to the model that drifts, and what the alerts make of it.

use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

use crate::state::{DRIFT_ALERT, Delivery, RISK_SCORE_ALERT, State};
use fixtures::models::DRIFTING;

/// The first calls should be seen before anything goes wrong with them.
const SOON: SignedDuration = SignedDuration::from_secs(5);
/// A drift that is to be over with the minute in which it breaks out needs so much of it.
const TIME_TO_DRIFT: SignedDuration = SignedDuration::from_secs(20);

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// So long after the end of a minute a check looks at it.
const CHECK_OFFSET: SignedDuration = SignedDuration::from_secs(15);
/// So long after the last minute with such a score its status ends.
const CALM: SignedDuration = SignedDuration::from_mins(3);
/// So long after the end of a minute, what the check has found is sent.
const SENDER_OFFSET: SignedDuration = SignedDuration::from_secs(30);

/// When what happened, so far.
pub struct Story {
    pub breaks_out: Timestamp,
    pub repaired: Option<Timestamp>,
    /// What Slack has been told of its scores, and of its drift.
    scores: News,
    drift: News,
}

#[derive(Clone, Copy, Default)]
struct News {
    /// Slack has been told that it is critical.
    told: Option<Timestamp>,
    /// Slack has been told that it is normal again.
    over: Option<Timestamp>,
}

impl Story {
    /// The drift breaks out soon, and goes on until somebody ends it.
    pub fn without_end(start: Timestamp) -> Self {
        Story { breaks_out: start + SOON, repaired: None, scores: News::default(), drift: News::default() }
    }

    /// The drift is over with a minute. A check looks at whole minutes, so only one minute is bad, and the return is told
    /// of soonest.
    pub fn of_one_minute(start: Timestamp) -> Self {
        let mut breaks_out = start + SOON;
        if end_of_minute(breaks_out).duration_since(breaks_out) < TIME_TO_DRIFT {
            breaks_out = end_of_minute(breaks_out);
        }
        let repaired = Some(end_of_minute(breaks_out));
        Story { breaks_out, repaired, scores: News::default(), drift: News::default() }
    }

    /// Takes in what has come to Slack.
    pub fn go_on(&mut self, state: &State) {
        let news = |check| {
            let first = |color| {
                let of = |delivery: &&Delivery| delivery.is_of(check) && delivery.color().as_deref() == Some(color);
                Some(state.deliveries.iter().find(of)?.seen)
            };
            News { told: first("danger"), over: first("good") }
        };
        self.scores = news(RISK_SCORE_ALERT);
        self.drift = news(DRIFT_ALERT);
    }

    /// Whether Slack has been told of all that is wrong.
    pub fn is_told(&self) -> bool {
        self.scores.told.is_some() && self.drift.told.is_some()
    }

    /// Whether Slack has been told that all is well again.
    pub fn is_over(&self) -> bool {
        self.scores.over.is_some() && self.drift.over.is_some()
    }

    /// The story up to `now`, in a sentence or two. A check sees a minute 15 s after its end, and what it finds is sent 15 s
    /// later.
    pub fn text(&self, now: Timestamp) -> String {
        let scores = match (self.repaired.filter(|repaired| *repaired <= now), self.scores.told, self.scores.over) {
            (_, _, Some(over)) => format!("well again, and Slack was told so at {}.", clock(over)),
            (Some(repaired), Some(told), None) => format!(
                "Slack was told at {}, and the data is right again since {}. Slack hears of that at {}.",
                clock(told),
                clock(repaired),
                clock(end_of_minute(repaired - SignedDuration::from_nanos(1)) + CALM + SENDER_OFFSET)
            ),
            (None, Some(told), None) => format!("Slack was told at {}.", clock(told)),
            (Some(repaired), None, None) => format!(
                "scores above 0.7 from {} to {}. Slack hears of it at {}.",
                clock(self.breaks_out),
                clock(repaired),
                clock(end_of_minute(self.breaks_out) + SENDER_OFFSET)
            ),
            (None, None, None) if self.breaks_out <= now => {
                let seen = end_of_minute(self.breaks_out);
                format!(
                    "scores above 0.7 since {}. The check sees it at {}, and Slack hears of it at {}.",
                    clock(self.breaks_out),
                    clock(seen + CHECK_OFFSET),
                    clock(seen + SENDER_OFFSET)
                )
            }
            (None, None, None) => {
                "its data is not what it has learnt from any more, and its scores creep up towards 0.7.".to_owned()
            }
        };
        let drift = match (self.drift.told, self.drift.over) {
            (None, _) => String::new(),
            (Some(told), None) => format!(" Of the drift Slack was told at {}.", clock(told)),
            (Some(told), Some(over)) => {
                format!(" Of the drift Slack was told at {}, and of its end at {}.", clock(told), clock(over))
            }
        };
        let (name, version) = DRIFTING;
        format!("{name} {version}: {scores}{drift}")
    }
}

/// The time of day.
pub fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

/// When the next minute begins.
fn end_of_minute(time: Timestamp) -> Timestamp {
    let minute = time.round(TimestampRound::new().smallest(Unit::Minute).mode(RoundMode::Trunc));
    minute.unwrap_or(time) + MINUTE
}
