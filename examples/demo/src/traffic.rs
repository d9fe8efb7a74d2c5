//! The calls that are made while the demo runs, on their way to Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use stack::Kafka;

use crate::servers::TOPIC;
use fixtures::models::{Fate, Simulation};

/// Messages go out together that come within this time.
const BATCH: Duration = Duration::from_millis(100);

/// Sends what the models report.
pub struct Traffic<'a> {
    kafka: &'a Kafka,
    simulation: Mutex<Simulation>,
    sent: Mutex<Sent>,
    stopped: AtomicBool,
}

/// What Kafka has acknowledged, and what is to come of it.
#[derive(Clone, Default)]
pub struct Sent {
    pub messages: u64,
    /// Messages that are to become a point of their own.
    pub points: u64,
    /// Messages that are the same as others.
    pub twice: u64,
    /// Messages that are to be rejected, by the reason.
    pub bad: BTreeMap<&'static str, u64>,
    /// The points' request_ids, and the rejected messages, if they are kept.
    pub ledger: Option<Ledger>,
}

#[derive(Clone, Default)]
pub struct Ledger {
    pub requests: BTreeSet<String>,
    pub bad: BTreeSet<String>,
}

impl Sent {
    pub fn rejections(&self) -> u64 {
        self.bad.values().sum()
    }
}

impl<'a> Traffic<'a> {
    /// Calls of these models. A ledger of them takes memory as long as they go on.
    pub fn new(kafka: &'a Kafka, simulation: Simulation, ledger: bool) -> Self {
        let sent = Sent { ledger: ledger.then(Ledger::default), ..Sent::default() };
        Traffic { kafka, simulation: Mutex::new(simulation), sent: Mutex::new(sent), stopped: AtomicBool::new(false) }
    }

    /// Sends until it is stopped. What is sent is acknowledged then.
    pub fn run(&self) -> Result<()> {
        while !self.stopped.load(Ordering::SeqCst) {
            let messages = lock(&self.simulation).until(Timestamp::now());
            if !messages.is_empty() {
                self.kafka.produce(TOPIC, messages.iter().map(|message| &message.text))?;
            }
            let mut sent = lock(&self.sent);
            for message in messages {
                sent.count(message.text, message.fate);
            }
            drop(sent);
            thread::sleep(BATCH);
        }
        Ok(())
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// All is well again with the model that drifts, from now on. Gives the time.
    pub fn repair(&self) -> Timestamp {
        let now = Timestamp::now();
        lock(&self.simulation).repair(now);
        now
    }

    /// What is sent so far, without the ledger.
    pub fn sent(&self) -> Sent {
        let Sent { messages, points, twice, bad, ledger: _ } = &*lock(&self.sent);
        Sent { messages: *messages, points: *points, twice: *twice, bad: bad.clone(), ledger: None }
    }

    /// All that was sent.
    pub fn into_sent(self) -> Sent {
        self.sent.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent {
    fn count(&mut self, text: Vec<u8>, fate: Fate) {
        self.messages += 1;
        match fate {
            Fate::Point { request } => {
                self.points += 1;
                if let Some(ledger) = &mut self.ledger {
                    ledger.requests.insert(request);
                }
            }
            Fate::SamePoint => self.twice += 1,
            Fate::Rejection { reason } => {
                *self.bad.entry(reason).or_default() += 1;
                if let Some(ledger) = &mut self.ledger {
                    ledger.bad.insert(String::from_utf8_lossy(&text).into_owned());
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
