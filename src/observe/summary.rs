//! A summary of many points: the distribution of the values of each algorithm and metric. It is made from the lines that are
//! written, so it describes what is stored.
//!
//! They are read with our own reader, not with the crate influxdb-line-protocol: it takes two backslashes in a key or a tag
//! for one, so `a\\b` and `a\b`, which are stored as two names, would be one.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::line_protocol::decoder::{MetricReader, Pair};
use crate::line_protocol::escape::plain_key;
use crate::observe::spread::Spread;

/// The number of algorithms and metrics that are kept apart, first come first served, so that memory is bounded.
const MAX_ALGORITHMS: usize = 256;
const MAX_METRICS: usize = 4096;

/// Algorithms and metrics with longer names are not kept apart.
const MAX_NAME: usize = 256;

/// The number of series (measurement with tags) that are remembered at once.
const MAX_SERIES: usize = 1024;

/// Summarizes the points in lines.
#[derive(Debug)]
pub struct Summary {
    measurement: Vec<u8>,
    parts: MetricReader,
    /// The name and tags of the last line, and its algorithm's place as in `by_series`. None if it is not a point of the
    /// measurement.
    head: Vec<u8>,
    place: Option<Option<usize>>,
    algorithms: Vec<Algorithm>,
    /// The algorithms' places, by owner and name.
    by_name: HashMap<(Vec<u8>, Vec<u8>), usize>,
    /// The algorithms' places, by the part of a line before its fields. None for algorithms that are not kept.
    by_series: HashMap<Vec<u8>, Option<usize>>,
    metrics: usize,
    times: Option<(i64, i64)>,
    other_points: u64,
    other_values: u64,
}

/// The points of one algorithm.
#[derive(Debug)]
pub struct Algorithm {
    name: String,
    owner: String,
    points: u64,
    /// By key, as it is written.
    metrics: Vec<(Vec<u8>, Spread)>,
    places: HashMap<Vec<u8>, usize>,
    /// The likely place of the current point's next field.
    next: usize,
}

impl Summary {
    /// A summary of the points of this measurement.
    pub fn new(measurement: &str) -> Self {
        Summary {
            measurement: measurement.as_bytes().to_vec(),
            parts: MetricReader::default(),
            head: Vec::new(),
            place: None,
            algorithms: Vec::new(),
            by_name: HashMap::new(),
            by_series: HashMap::new(),
            metrics: 0,
            times: None,
            other_points: 0,
            other_values: 0,
        }
    }

    /// Reads whole lines, such as the output of a [`Converter`](crate::Converter).
    pub fn read(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let behind = lines.strip_prefix(self.head.as_slice()).filter(|_| !self.head.is_empty());
            let read = if behind.is_some_and(|behind| behind.starts_with(b" ")) {
                self.parts.read_behind_head(lines, self.head.len())
            } else {
                let read = self.parts.read_first(lines);
                self.take_head(lines, read.is_ok());
                read
            };
            let len = match read {
                Ok(len) => {
                    self.line(&lines[..len]);
                    len
                }
                // A converter's output has no such lines.
                Err(_) => memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1),
            };
            lines = &lines[len..];
        }
    }

    /// Remembers the line's name and tags, if they could be read.
    fn take_head(&mut self, line: &[u8], is_read: bool) {
        self.head.clear();
        self.place = None;
        if !is_read {
            return;
        }
        let end = self.parts.tags.last().map_or(self.parts.name.end, |tag| tag.value.end);
        self.head.extend_from_slice(&line[..end]);
        let series = &line[self.parts.name.start..end];
        self.place = match self.by_series.get(series) {
            Some(place) => Some(*place),
            None => self.place_of(line, series.len()),
        };
    }

    fn line(&mut self, line: &[u8]) {
        let Some(place) = self.place else { return };
        if let Some(time) = self.parts.time {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
        let Some(algorithm) = place.map(|place| &mut self.algorithms[place]) else {
            self.other_points += 1;
            return;
        };
        algorithm.points += 1;
        for Pair { key, value } in &self.parts.fields {
            let (key, value) = (&line[key.clone()], &line[value.clone()]);
            let Some(value) = std::str::from_utf8(value).ok().filter(|value| is_number(value)) else { continue };
            let at = match algorithm.place_of(key) {
                Some(at) => at,
                None if self.metrics < MAX_METRICS && key.len() <= MAX_NAME => {
                    self.metrics += 1;
                    algorithm.add(key)
                }
                None => {
                    self.other_values += 1;
                    continue;
                }
            };
            algorithm.metrics[at].1.add(value);
            algorithm.next = at + 1;
        }
    }

    /// The place of the algorithm in a line that has been read. The outer None: the line is not a point of the measurement.
    /// The inner None: there is no place left for the algorithm.
    fn place_of(&mut self, line: &[u8], series_len: usize) -> Option<Option<usize>> {
        if *plain_key(&line[self.parts.name.clone()]) != *self.measurement {
            return None;
        }
        let tag = |name: &[u8]| {
            let tag = self.parts.tags.iter().find(|tag| *plain_key(&line[tag.key.clone()]) == *name);
            tag.map(|tag| plain_key(&line[tag.value.clone()]).into_owned()).unwrap_or_default()
        };
        let (owner, name) = (tag(b"algorithm_owner"), tag(b"algorithm_name"));
        let place = match self.by_name.get(&(owner.clone(), name.clone())) {
            Some(place) => Some(*place),
            None if self.algorithms.len() < MAX_ALGORITHMS && owner.len().max(name.len()) <= MAX_NAME => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                self.algorithms.push(Algorithm {
                    name: text(&name),
                    owner: text(&owner),
                    points: 0,
                    metrics: Vec::new(),
                    places: HashMap::new(),
                    next: 0,
                });
                self.by_name.insert((owner, name), self.algorithms.len() - 1);
                Some(self.algorithms.len() - 1)
            }
            None => None,
        };
        if self.by_series.len() >= MAX_SERIES {
            self.by_series.clear();
        }
        let series = &line[self.parts.name.start..self.parts.name.start + series_len];
        if series.len() <= 4 * MAX_NAME {
            self.by_series.insert(series.to_vec(), place);
        }
        Some(place)
    }

    /// The algorithms, the one with the most points first.
    pub fn algorithms(&self) -> Vec<&Algorithm> {
        let mut algorithms: Vec<&Algorithm> = self.algorithms.iter().collect();
        algorithms.sort_by(|a, b| b.points.cmp(&a.points).then_with(|| (&a.name, &a.owner).cmp(&(&b.name, &b.owner))));
        algorithms
    }

    /// Points of algorithms that were not kept because there were too many.
    pub fn other_points(&self) -> u64 {
        self.other_points
    }

    /// Values of metrics that were not kept because there were too many, in points of algorithms that were.
    pub fn other_values(&self) -> u64 {
        self.other_values
    }

    /// The first and the last time of a point, in nanoseconds since the epoch.
    pub fn times(&self) -> Option<RangeInclusive<i64>> {
        self.times.map(|(first, last)| first..=last)
    }
}

impl Algorithm {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its owner. Empty if its points have none.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The number of its points.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// Its metrics, in the order in which they first appeared.
    pub fn metrics(&self) -> impl Iterator<Item = (String, &Spread)> {
        let name = |key: &[u8]| String::from_utf8_lossy(&plain_key(key)).into_owned();
        self.metrics.iter().map(move |(key, spread)| (name(key), spread))
    }

    /// The place of a metric. Most points have the same metrics in the same order.
    fn place_of(&self, key: &[u8]) -> Option<usize> {
        let is_at = |at: usize| self.metrics.get(at).is_some_and(|(other, _)| other == key).then_some(at);
        is_at(self.next).or_else(|| is_at(0)).or_else(|| self.places.get(key).copied())
    }

    fn add(&mut self, key: &[u8]) -> usize {
        self.metrics.push((key.to_vec(), Spread::default()));
        self.places.insert(key.to_vec(), self.metrics.len() - 1);
        self.metrics.len() - 1
    }
}

/// Whether a field's value is a number, not a string or boolean.
fn is_number(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_by_algorithm_owner_and_metric() {
        let mut summary = Summary::new("my own,name");
        summary.read(
            b"cpu usage=9 5\n\
            my\\ own\\,name,algorithm_name=a\\ b,algorithm_owner=x,v=1 f=1,s=\"line\n2 f=7\",b=true 20\n\
            my\\ own\\,name,algorithm_name=a\\ b,algorithm_owner=x,v=2 f=2,g=5i 10\n\
            my\\ own\\,name_rejected,algorithm_name=a\\ b error=\"x\" 1\n\
            my\\ own\\,name,algorithm_name=a\\ b,algorithm_owner=y f=3 30\n",
        );
        let shown: Vec<_> = summary
            .algorithms()
            .into_iter()
            .map(|algorithm| {
                let metrics = algorithm.metrics().map(|(name, spread)| (name, spread.count(), spread.mean()));
                (algorithm.owner(), algorithm.name(), algorithm.points(), metrics.collect::<Vec<_>>())
            })
            .collect();
        let metric = |name: &str, count, mean| (name.to_owned(), count, mean);
        assert_eq!(
            shown,
            [
                ("x", "a b", 2, vec![metric("f", 2, 1.5), metric("g", 1, 5.0)]),
                ("y", "a b", 1, vec![metric("f", 1, 3.0)])
            ]
        );
        assert_eq!(summary.times(), Some(10..=30));
    }

    #[test]
    fn names_are_those_that_are_stored() {
        let mut summary = Summary::new("m");
        summary.read(b"m,algorithm_name=a\\\\b f\\\\g=1,f\\g=2 1\nm,algorithm_name=a\\b f\\n=3 2\nm,algorithm_name=a\\\\b h=4 3\n");
        let names = |algorithm: &Algorithm| algorithm.metrics().map(|(name, _)| name).collect::<Vec<_>>();
        let shown: Vec<_> =
            summary.algorithms().into_iter().map(|found| (found.name().to_owned(), names(found))).collect();
        let text = str::to_owned;
        assert_eq!(
            shown,
            [(text(r"a\\b"), vec![text(r"f\\g"), text(r"f\g"), text("h")]), (text(r"a\b"), vec![text(r"f\n")])]
        );
    }

    #[test]
    fn memory_is_bounded_and_what_is_not_kept_is_counted() {
        let mut summary = Summary::new("m");
        for index in 0..MAX_ALGORITHMS + 10 {
            summary.read(format!("m,algorithm_name=a{index} f=1 1\n").as_bytes());
        }
        for index in 0..MAX_METRICS {
            summary.read(format!("m,algorithm_name=a0,t={index} f{index}=1,f=2 1\n").as_bytes());
        }
        summary.read(format!("m,algorithm_name={} f=1 1\n", "n".repeat(MAX_NAME + 1)).as_bytes());
        assert_eq!((summary.algorithms.len(), summary.metrics), (MAX_ALGORITHMS, MAX_METRICS));
        assert!(summary.by_series.len() <= MAX_SERIES);
        assert_eq!((summary.other_points(), summary.other_values()), (11, MAX_ALGORITHMS as u64));
        let first = &summary.algorithms()[0];
        assert_eq!((first.name(), first.points()), ("a0", 1 + MAX_METRICS as u64));
    }
}
