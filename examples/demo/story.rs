//! What happens to the model that drifts, and what the alert makes of it.

use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

use crate::models::DRIFTING;
use crate::state::State;

/// The first calls should be seen before anything goes wrong with them.
const SOON: SignedDuration = SignedDuration::from_secs(5);
/// A drift that is to be over with the minute in which it breaks out needs so much of it.
const TIME_TO_DRIFT: SignedDuration = SignedDuration::from_secs(20);

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// So long after the end of a minute a check looks at it.
const CHECK_OFFSET: SignedDuration = SignedDuration::from_secs(15);

/// When what happened, so far.
pub struct Story {
    pub breaks_out: Timestamp,
    pub repaired: Option<Timestamp>,
    /// Slack has been told that it is critical.
    pub told: Option<Timestamp>,
    /// Slack has been told that it is normal again.
    pub over: Option<Timestamp>,
}

impl Story {
    /// The drift breaks out soon, and goes on until somebody ends it.
    pub fn without_end(start: Timestamp) -> Self {
        Story { breaks_out: start + SOON, repaired: None, told: None, over: None }
    }

    /// The drift is over with a minute. A check looks at whole minutes, so it is critical just once, and the return is told
    /// of soonest.
    pub fn of_one_minute(start: Timestamp) -> Self {
        let mut breaks_out = start + SOON;
        if end_of_minute(breaks_out).duration_since(breaks_out) < TIME_TO_DRIFT {
            breaks_out = end_of_minute(breaks_out);
        }
        Story { breaks_out, repaired: Some(end_of_minute(breaks_out)), told: None, over: None }
    }

    /// Takes in what has come to Slack. True the first time that it has been told.
    pub fn go_on(&mut self, state: &State) -> bool {
        let first = |color| {
            let mut deliveries = state.deliveries.iter().filter(|delivery| delivery.color().as_deref() == Some(color));
            Some(deliveries.next()?.seen)
        };
        let knew = self.told.is_some();
        self.told = first("danger");
        self.over = first("good");
        self.told.is_some() && !knew
    }

    /// The story up to `now`, in a sentence or two. A check sees a minute 15 s after its end, and what it finds is sent at
    /// the end of the next.
    pub fn text(&self, now: Timestamp) -> String {
        let story = match (self.repaired.filter(|repaired| *repaired <= now), self.told, self.over) {
            (_, _, Some(over)) => format!("well again, and Slack was told so at {}.", clock(over)),
            (Some(repaired), Some(told), None) => format!(
                "Slack was told at {}, and the data is right again since {}. Slack hears of that at {}.",
                clock(told),
                clock(repaired),
                clock(end_of_minute(repaired - SignedDuration::from_nanos(1)) + 2 * MINUTE)
            ),
            (None, Some(told), None) => format!("Slack was told at {}.", clock(told)),
            (Some(repaired), None, None) => format!(
                "scores above 0.7 from {} to {}. Slack hears of it at {}.",
                clock(self.breaks_out),
                clock(repaired),
                clock(end_of_minute(self.breaks_out) + MINUTE)
            ),
            (None, None, None) if self.breaks_out <= now => {
                let seen = end_of_minute(self.breaks_out);
                format!(
                    "scores above 0.7 since {}. The check sees it at {}, and Slack hears of it at {}.",
                    clock(self.breaks_out),
                    clock(seen + CHECK_OFFSET),
                    clock(seen + MINUTE)
                )
            }
            (None, None, None) => {
                "its data is not what it has learnt from any more, and its scores creep up towards 0.7.".to_owned()
            }
        };
        let (name, version) = DRIFTING;
        format!("{name} {version}: {story}")
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
