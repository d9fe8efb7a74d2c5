//! The demo on the terminal, redrawn in place; where there is none, a line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::termios::tcgetwinsize;

use crate::state::{DRIFT_ALERT, Level, RISK_SCORE_ALERT, State};
use crate::story::{Story, clock};
use crate::traffic::Sent;

/// Without a terminal, a line comes so often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What is assumed of a terminal that does not say.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

const ALGORITHM: &str = "Algorithm";

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// All that there is to show.
pub struct Scene<'a> {
    /// Since when the calls come by Kafka.
    pub start: Timestamp,
    /// How many calls of the time before are in InfluxDB.
    pub history: u64,
    pub addresses: &'a [String],
    pub sent: &'a Sent,
    pub state: &'a State,
    pub story: &'a Story,
}

pub struct View {
    terminal: bool,
    colored: bool,
    /// How many lines of the terminal hold the last picture, and how large it was.
    drawn: usize,
    size: (usize, usize),
    /// Without a terminal: when the last line came, and what has been told.
    last_line: Option<Instant>,
    told: String,
    deliveries: usize,
}

impl View {
    pub fn new() -> View {
        let terminal = std::io::stdout().is_terminal();
        let colored = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if terminal {
            put(HIDE_CURSOR);
        }
        let size = (0, 0);
        View { terminal, colored, drawn: 0, size, last_line: None, told: String::new(), deliveries: 0 }
    }

    pub fn show(&mut self, scene: &Scene<'_>) {
        if self.terminal { self.draw(scene) } else { self.tell(scene) }
    }

    fn draw(&mut self, scene: &Scene<'_>) {
        let size = terminal_size();
        let (columns, rows) = size;
        let mut lines = picture(scene, columns);
        // One line less, for the cursor: a full terminal would scroll.
        lines.truncate(rows.saturating_sub(1));
        let mut out = if self.size == size || self.drawn == 0 {
            format!("\x1b[{}F", self.drawn).replace("\x1b[0F", "")
        } else {
            // Lines may have been broken anew: there is no telling where the last picture is.
            "\x1b[2J\x1b[H".to_owned()
        };
        for line in &lines {
            out += &line.render(columns, self.colored);
            out += "\x1b[K\n";
        }
        out += "\x1b[J";
        put(&out);
        self.drawn = lines.len();
        self.size = size;
    }

    fn tell(&mut self, scene: &Scene<'_>) {
        let now = clock(Timestamp::now());
        let mut out = String::new();
        let story = scene.story.text(Timestamp::now());
        if story != self.told {
            out += &format!("{now}  {story}\n");
            self.told = story;
        }
        for delivery in scene.state.deliveries.iter().skip(self.deliveries) {
            out += &format!("{now}  Slack has received: {}\n", delivery.body);
        }
        self.deliveries = scene.state.deliveries.len();
        if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            let State { in_kafka, points, rejections, statuses, .. } = scene.state;
            let worst = worst_statuses(scene.state);
            let alarms: Vec<_> = worst.iter().filter(|(_, level, _)| *level > Level::Ok).collect();
            let alarms =
                alarms.iter().map(|(check, level, _)| format!("{check} {level}")).collect::<Vec<_>>().join(", ");
            let checks = match (statuses.is_empty(), alarms.is_empty()) {
                (true, _) => "no check has run yet".to_owned(),
                (false, true) => "all checks ok".to_owned(),
                (false, false) => alarms,
            };
            out += &format!(
                "{now}  {} sent, {} in Kafka, {} points and {} rejected in InfluxDB; {checks}\n",
                number(scene.sent.messages),
                number(in_kafka.unsigned_abs()),
                number(*points),
                number(*rejections)
            );
        }
        put(&out);
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.terminal {
            put(SHOW_CURSOR);
        }
    }
}

/// Prints a text to stdout. Whoever has closed it does not want to see it.
pub fn put(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// A number with commas.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

fn terminal_size() -> (usize, usize) {
    match tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (COLUMNS, ROWS),
    }
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Faint,
    Bold,
    Green,
    Yellow,
    Red,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Faint => "2",
            Style::Bold => "1",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Red => "1;31",
        }
    }

    fn of(level: Level) -> Style {
        match level {
            Level::Ok => Style::Green,
            Level::Info | Level::Warn => Style::Yellow,
            Level::Crit => Style::Red,
            Level::Unknown => Style::Faint,
        }
    }
}

/// A line of the picture: texts, each in its style.
#[derive(Default)]
struct Line(Vec<(Style, String)>);

impl Line {
    fn new(style: Style, text: impl Into<String>) -> Line {
        Line::default().then(style, text)
    }

    fn then(mut self, style: Style, text: impl Into<String>) -> Line {
        self.0.push((style, text.into()));
        self
    }

    /// The line as the terminal takes it, cut to its width.
    fn render(&self, columns: usize, colored: bool) -> String {
        let mut out = String::new();
        let mut room = columns;
        for (style, text) in &self.0 {
            let text = text.chars().take(room).collect::<String>();
            room -= text.chars().count();
            out += &match style {
                Style::Plain => text,
                _ if !colored => text,
                style => format!("\x1b[{}m{text}\x1b[0m", style.code()),
            };
        }
        out
    }
}

/// What the terminal shows. What matters less comes last, and is cut off where there is not enough room.
fn picture(scene: &Scene<'_>, columns: usize) -> Vec<Line> {
    let now = Timestamp::now();
    let mut lines = vec![
        Line::new(Style::Bold, "telegraf-algorithmia, the demo")
            .then(Style::Faint, format!("   {} UTC, since {}   Ctrl-C ends it", clock(now), clock(scene.start))),
    ];
    lines.extend(numbers(scene));
    lines.push(Line::default());
    for line in wrap(&scene.story.text(now), columns) {
        lines.push(Line::new(Style::Bold, line));
    }
    lines.push(Line::default());
    lines.extend(models(scene.state));
    lines.push(Line::default());
    if let Some(delivery) = scene.state.deliveries.last() {
        let count = scene.state.deliveries.len();
        let heading = format!("What Slack received at {}, POST {}", clock(delivery.seen), delivery.path);
        let heading = if count > 1 { format!("{heading} (number {count})") } else { heading };
        lines.push(Line::new(Style::Faint, heading));
        for line in wrap(&delivery.body, columns) {
            lines.push(Line::new(Style::Plain, line));
        }
        lines.push(Line::default());
    }
    lines.extend(checks(scene.state));
    lines.push(Line::default());
    lines.extend(scene.addresses.iter().map(|line| Line::new(Style::Faint, line)));
    lines
}

fn numbers(scene: &Scene<'_>) -> Vec<Line> {
    let Scene { sent, state, history, .. } = scene;
    let settled = state.points + state.rejections + sent.twice;
    let sent = format!(
        "{} messages, {} of them bad, {} the same as another",
        number(sent.messages),
        number(sent.rejections()),
        number(sent.twice),
    );
    let kafka = format!(
        "{} messages, {} not committed by Telegraf yet",
        number(state.in_kafka.unsigned_abs()),
        number(state.uncommitted.unsigned_abs()),
    );
    let influxdb = format!(
        "{} points, {} rejected, {} on their way; {} points of before",
        number(state.points),
        number(state.rejections),
        number(scene.sent.messages.saturating_sub(settled)),
        number(*history),
    );
    let reported = match &state.report {
        None => "nothing yet: telegraf-algorithmia reports once a minute".to_owned(),
        Some(report) => {
            let of = |name: &str| report.numbers.get(name).copied().unwrap_or(0);
            format!(
                "at {}: {} converted, {} rejected, lag {} ms, buffer {} points",
                clock(report.time),
                number(of("converted").unsigned_abs()),
                number(of("rejected").unsigned_abs()),
                of("lag_mean_ms"),
                of("telegraf_buffer_size"),
            )
        }
    };
    let rows = [("Sent", sent), ("Kafka", kafka), ("InfluxDB", influxdb), ("Reported", reported)];
    rows.map(|(name, text)| Line::new(Style::Faint, format!("{name:<10}")).then(Style::Plain, text)).into()
}

fn models(state: &State) -> Vec<Line> {
    let names = state.models.keys().map(|[owner, name, _]| format!("{owner}/{name}")).collect::<Vec<_>>();
    let width = names.iter().map(String::len).max().unwrap_or(0).max(ALGORITHM.len());
    let heading = format!(
        "{ALGORITHM:<width$} {:<7} {:>5} {:>4}  {:<5} {:>5}  {}",
        "Version", "Calls", "Risk", "Alert", "PSI", "Alert"
    );
    let mut lines = vec![Line::new(Style::Faint, heading)];
    for ((key, model), name) in state.models.iter().zip(names) {
        let [_, _, version] = key;
        let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
        let alert = |line: Line, check: &str| match state.worst(check, key) {
            Some(level) => line.then(Style::of(level), format!("{level:<5}")),
            None => line.then(Style::Faint, format!("{:<5}", "-")),
        };
        let risk = number(model.risk_score);
        let line = Line::new(Style::Plain, format!("{name:<width$} {version:<7} {:>5} {risk:>4}  ", model.calls));
        let line = alert(line, RISK_SCORE_ALERT).then(Style::Plain, format!(" {:>5}  ", number(model.psi)));
        lines.push(alert(line, DRIFT_ALERT));
    }
    lines
}

/// Of each check the worst of its latest statuses, and what it says.
fn worst_statuses(state: &State) -> Vec<(&str, Level, &str)> {
    let mut worst: Vec<(&str, Level, &str)> = Vec::new();
    for status in &state.statuses {
        let status = (status.check.as_str(), status.level, status.message.as_str());
        match worst.iter_mut().find(|(check, ..)| *check == status.0) {
            Some(known) if known.1 < status.1 => *known = status,
            Some(_) => {}
            None => worst.push(status),
        }
    }
    worst.sort();
    worst
}

fn checks(state: &State) -> Vec<Line> {
    let worst = worst_statuses(state);
    if worst.is_empty() {
        return vec![Line::new(Style::Faint, "No check has run yet: the first do 15 s after each minute")];
    }
    let mut lines = vec![Line::new(Style::Faint, format!("{:<20}Worst of its latest statuses", "Check"))];
    for (check, level, message) in worst {
        let line = Line::new(Style::Plain, format!("{check:<20}"));
        lines.push(line.then(Style::of(level), format!("{level:<6}")).then(Style::Plain, message));
    }
    lines
}

/// A text in lines of this many characters, broken at spaces where there are any.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.chars().collect::<Vec<_>>();
    while rest.len() > columns {
        let space = rest[..=columns].iter().rposition(|character| *character == ' ').filter(|at| *at > 0);
        let line = rest.drain(..space.unwrap_or(columns)).collect();
        lines.push(line);
        if space.is_some() {
            rest.remove(0);
        }
    }
    lines.push(rest.into_iter().collect());
    lines
}
