//! Observes each message while it is converted: counts, log lines, the lag, gauges, and output for people.

use telegraf_algorithmia::{Counts, Event, Observer, Trace};

use super::Patience;
use super::flow::Reading;
use super::log::Log;
use super::stats::Lag;
use crate::output::Form;

pub struct Watch {
    pub counts: Counts,
    /// None if everything is shown anyway.
    pub log: Option<Log>,
    pub form: Form,
    /// How many lines have not been passed to the outlet yet.
    pub lines: u64,
    /// For the self-report.
    pub lag: Lag,
    /// The output whose gauges are collected.
    output: Option<String>,
    pub gauges: Vec<Reading>,
}

impl Watch {
    /// Collects the gauges of the outputs with this name.
    pub fn new(form: Form, output: Option<String>, patience: &Patience) -> Self {
        Watch {
            counts: Counts::default(),
            log: matches!(form, Form::Lines).then(|| Log::new(patience.log_period)),
            form,
            lines: 0,
            lag: Lag::default(),
            output,
            gauges: Vec::new(),
        }
    }

    /// Adds the counts of points and of metrics that passed through.
    pub fn add(&mut self, counts: &Counts) {
        self.counts.add(counts);
        self.lines += counts.converted + counts.passed;
    }
}

impl Observer for Watch {
    fn observe(&mut self, event: Event<'_>) {
        self.counts.observe(event);
        if let Some(log) = &mut self.log {
            log.observe(event);
        }
        match event {
            Event::Converted { time } => {
                self.lines += 1;
                if let Some(time) = time {
                    self.lag.came(time);
                }
            }
            Event::Rejected { .. } | Event::NoMessage => self.lines += 1,
            Event::Passed { metric } => {
                self.lines += 1;
                if let Some(output) = &self.output {
                    self.gauges.extend(Reading::of(metric, output));
                }
            }
            Event::LeftOut { .. } | Event::TooMany { .. } | Event::TimeDefaulted { .. } | Event::StringCut { .. } => {}
        }
    }

    fn trace(&mut self, trace: &Trace<'_>) {
        self.form.trace(trace);
    }
}
