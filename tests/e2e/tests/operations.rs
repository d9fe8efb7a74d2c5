//! The steps of docs/operations.md for an empty dashboard, as the document has them: its commands, what they print when all is well,
//! and each symptom, seen on real servers with the one link broken that the document says.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::certificates::Authority;
use crate::shell::Shell;
use crate::support::{LONG, environment, turn};
use anyhow::{Context, Result, ensure};
use fixtures::document::{Block, blocks};
use fixtures::{Call, program, repository};
use jiff::{SignedDuration, Timestamp};
use stack::{BUCKET, Dir, Influxdb, Kafka, Process, TOKEN, Variables, wait_for};

/// Stands for the journal of systemd, which no test may write to: the log of a Telegraf. The real command judges the options.
const JOURNALCTL: &str = r#"#!/bin/sh
case "$*" in "-u telegraf -o cat") ;; *) echo "journalctl $*?" >&2; exit 1 ;; esac
if real=$(PATH=${PATH#*:} command -v journalctl); then "$real" --directory "$EMPTY" "$@" > /dev/null || exit; fi
cat "$TELEGRAF_LOG"
"#;

/// Starts a command to which the folder in front of it is on a disk that nobody, not even root, can write to.
const READ_ONLY: [&str; 5] =
    ["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o ro,mode=0700 none \"$0\" && exec \"$@\""];

/// The configuration of the package.
const PACKAGED: &str = "algorithmia.conf";

/// The step that counts minutes, which is right with a call of this minute only.
const MINUTES: usize = 5;

/// A step of the document.
struct Step {
    command: Block,
    /// What it prints when all is well.
    output: String,
    /// What it prints otherwise, by cause. Empty is nothing.
    symptoms: BTreeMap<String, String>,
}

/// The steps, from 1 on.
fn steps() -> Result<BTreeMap<usize, Step>> {
    let document = repository("docs/operations.md");
    let text = fs::read_to_string(&document)?;
    let mut blocks = blocks(&document)?;
    let (_, section) = text.split_once("\n## When something is wrong\n").context("the section is gone")?;
    ensure!(!section.contains("\n## "), "it is not the last section");
    let mut steps = BTreeMap::new();
    for part in section.split("\n### ").skip(1) {
        let (heading, part) = part.split_once('\n').context("a heading has nothing below it")?;
        let Some(number) = heading.split_once(". ").and_then(|(number, _)| number.parse().ok()) else { continue };
        let mut block = |language: &str| {
            let mut of_step = blocks.extract_if(.., |block| block.heading == heading && block.language == language);
            let (first, second) = (of_step.next(), of_step.next());
            first.filter(|_| second.is_none()).with_context(|| format!("{heading}: not one block of {language}"))
        };
        let rows = part.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
        let symptoms = rows.map(|row| {
            let mut cells = row.split(" | ");
            let (symptom, cause) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
            let code = symptom.strip_prefix('`').and_then(|symptom| symptom.strip_suffix('`'));
            ensure!(code.is_some() || symptom == "nothing", "{heading}: {symptom} is neither code nor nothing");
            Ok((cause.to_owned(), code.unwrap_or_default().to_owned()))
        });
        let symptoms = symptoms.collect::<Result<_>>()?;
        steps.insert(number, Step { command: block("sh")?, output: block("text")?.text, symptoms });
    }
    Ok(steps)
}

/// Whether lines are what the document shows, where an ellipsis is any text, and blanks may be more.
fn is_shown(shown: &str, lines: &str) -> bool {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let line_is_shown = |(shown, line): (&str, &str)| {
        let (shown, line) = (words(shown), words(line));
        let mut parts = shown.split('…');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = line.strip_prefix(first) else { return false };
        let mut any = false;
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            (rest, any) = (behind, part.is_empty());
        }
        any || rest.is_empty()
    };
    shown.lines().count() == lines.lines().count() && shown.lines().zip(lines.lines()).all(line_is_shown)
}

/// The servers and the document.
struct Stack<'a> {
    dir: &'a Dir,
    kafka: Kafka,
    influxdb: Influxdb,
    steps: BTreeMap<usize, Step>,
    /// The symptoms that have been seen, as step and cause.
    seen: RefCell<BTreeSet<(usize, String)>>,
}

/// A Telegraf, whose link is broken or not, and the shell of a reader.
struct Case<'a> {
    stack: &'a Stack<'a>,
    name: &'static str,
    variables: Vec<(&'static str, String)>,
    telegraf: Option<Process>,
    /// How late the model is.
    late: SignedDuration,
}

impl<'a> Stack<'a> {
    /// A case with a topic, a consumer group and a journal of its own.
    fn case(&'a self, name: &'static str, more: &[(&'static str, &str)]) -> Result<Case<'a>> {
        self.kafka.create_topic(name, 1)?;
        let mut variables = environment(self.dir, self.kafka.broker(), self.influxdb.url());
        variables.extend([
            ("KAFKA_TOPIC", name.to_owned()),
            ("KAFKA_CONSUMER_GROUP", name.to_owned()),
            ("ALGORITHMIA_JOURNAL", self.dir.path().join(format!("journal-{name}")).display().to_string()),
        ]);
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Ok(Case { stack: self, name, variables, telegraf: None, late: SignedDuration::ZERO })
    }

    fn influx(&self, arguments: &[&str]) -> Result<String> {
        let output = self.influxdb.cli(arguments)?.output()?;
        ensure!(output.status.success(), "influx {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Makes the bucket empty.
    fn empty(&self) -> Result<()> {
        self.influx(&[
            "delete",
            "--bucket",
            BUCKET,
            "--start",
            "1970-01-01T00:00:00Z",
            "--stop",
            "2100-01-01T00:00:00Z",
        ])
        .map(drop)
    }
}

impl Case<'_> {
    fn send(&self) -> Result<()> {
        let call = Call { time: Timestamp::now() - self.late, ..Call::numbered(1, "2021-02-20") };
        self.produce(&format!("{{\"algorithm_name\":\"{}\",{}", call.name, &call.to_string()[1..]))
    }

    fn produce(&self, message: &str) -> Result<()> {
        self.stack.kafka.produce(self.name, [message])
    }

    /// Starts Telegraf with the shipped telegraf.conf.
    fn start(&mut self) -> Result<()> {
        self.start_with(Command::new(stack::telegraf_binary()?), "telegraf.conf")
    }

    /// The same with what the package has, whose plugins have other names in the log.
    fn start_packaged(&mut self) -> Result<()> {
        self.start_with(Command::new(stack::telegraf_binary()?), PACKAGED)
    }

    fn start_with(&mut self, mut telegraf: Command, configuration: &str) -> Result<()> {
        let configuration = repository("telegraf").join(configuration);
        telegraf.arg("--config").arg(configuration).envs(self.variables.clone());
        self.telegraf = Some(self.stack.dir.spawn("telegraf", telegraf)?);
        Ok(())
    }

    /// What the command of a step prints.
    fn print(&self, step: &Step) -> Result<String> {
        let dir = self.stack.dir.path();
        let log = self.telegraf.as_ref().map_or(Path::new("/dev/null"), Process::log_path);
        let mut shell = Shell::new(self.stack.dir)?.set("TELEGRAF_LOG", log).set("EMPTY", dir.join("empty"));
        for (name, value) in &self.variables {
            shell = shell.set(name, value);
        }
        // A person's: Telegraf's may only write.
        let shell = shell.set("INFLUX_TOKEN", TOKEN).set("INFLUX_CONFIGS_PATH", dir.join("influx-configs"));
        let outcome = shell.run(&step.command)?;
        Ok(outcome.stdout + &outcome.stderr)
    }

    /// The steps up to one print what the document shows.
    fn well(&self, last: usize) -> Result<()> {
        (1..=last).try_for_each(|number| self.shows(number))
    }

    /// A step prints what the document shows.
    fn shows(&self, number: usize) -> Result<()> {
        let shown = &self.stack.steps[&number].output;
        self.wait(number, shown, |printed| is_shown(shown, printed)).map(drop)
    }

    /// The steps before one print what the document shows, and this one prints the symptom of a cause, and of no other.
    fn broken(&self, number: usize, cause: &str) -> Result<()> {
        self.well(number - 1)?;
        let symptoms = &self.stack.steps[&number].symptoms;
        let symptom = symptoms.get(cause).with_context(|| format!("step {number} has no such cause: {cause}"))?;
        let is_in = |symptom: &str, printed: &str| match symptom {
            "" => printed.is_empty(),
            _ => printed.contains(symptom),
        };
        let printed = self.wait(number, symptom, |printed| is_in(symptom, printed))?;
        let other = symptoms.values().find(|other| *other != symptom && is_in(other, &printed));
        ensure!(other.is_none(), "{}: of {cause}, step {number} also prints {other:?}:\n{printed}", self.name);
        self.stack.seen.borrow_mut().insert((number, cause.to_owned()));
        Ok(())
    }

    /// Waits until a step prints what is expected, and gives it.
    fn wait(&self, number: usize, expected: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
        let mut printed = String::new();
        wait_for(&format!("{expected:?}"), LONG, || {
            printed = self.print(&self.stack.steps[&number])?;
            if is_it(&printed) {
                return Ok(Some(()));
            }
            if number == MINUTES {
                self.send()?;
            }
            Ok(None)
        })
        .with_context(|| format!("{}: step {number} prints\n{printed}", self.name))?;
        Ok(printed)
    }

    fn telegraf(&self) -> Result<&Process> {
        self.telegraf.as_ref().context("Telegraf has not been started")
    }

    /// Whether the dashboard of the last hour shows the risk score.
    fn is_on_the_dashboard(&self) -> Result<bool> {
        let mut v = Variables::new("-1h", "now()")?;
        v.set("algorithmia_owner", "(all)").set("algorithmia_version", "(all)");
        v.set("algorithmia_algorithm", "credit_card_approval").set("algorithmia_metric", "risk_score");
        let cells = self.stack.influxdb.dashboards()?.into_iter().flat_map(|dashboard| dashboard.cells);
        let cell = cells.into_iter().find(|cell| cell.name == "Risk Score").context("there is no such cell")?;
        Ok(!self.stack.influxdb.query_with(&cell.queries[0], &v)?.is_empty())
    }
}

#[test]
fn each_broken_link_is_found_at_its_step() {
    let _turn = turn();
    stack::test("operations", |dir| {
        let stack = Stack {
            dir,
            kafka: Kafka::start(dir)?,
            influxdb: Influxdb::start_empty(dir)?,
            steps: steps()?,
            seen: RefCell::default(),
        };
        ensure!(stack.steps.keys().eq(&[1, 2, 3, 4, 5]), "the steps are {:?}", stack.steps.keys());
        // They stay in the folder that each shell has on its PATH.
        Shell::new(dir)?
            .command("influx", stack::influx_binary()?)?
            .command("kcat", stack::kcat_binary()?)?
            .command("telegraf-algorithmia", program())?;
        let journalctl = dir.write("bin/journalctl", JOURNALCTL)?;
        fs::set_permissions(journalctl, fs::Permissions::from_mode(0o755))?;
        fs::create_dir(dir.path().join("empty"))?;

        // The message in Kafka.
        let mut case = stack.case("no-message", &[])?;
        case.broken(1, "nobody sends to this topic")?;
        case.send()?;
        case.broken(2, "Telegraf does not run")?;
        case.variables.push(("KAFKA_TOPIC", "insihgts".to_owned()));
        case.broken(1, "wrong topic")?;
        case.variables.push(("KAFKA_BROKER", "127.0.0.1:1".to_owned()));
        case.broken(1, "wrong host or port, or the port takes TLS or a password")?;

        // Telegraf, which reads it.
        let mut case = stack.case("old-telegraf", &[])?;
        case.send()?;
        case.start_with(Command::new(stack::old_telegraf_binary()?), "telegraf.conf")?;
        case.broken(2, "Telegraf is too old")?;
        ensure!(!case.telegraf()?.wait(LONG)?.success(), "an old Telegraf starts with the shipped telegraf.conf");

        let mut case = stack.case("variable-not-set", &[("INFLUX_TOKEN", "")])?;
        case.send()?;
        case.start_packaged()?;
        case.broken(2, "not all variables that are required are set")?;
        case.telegraf()?.terminate()?;

        let ca = Authority::new(dir, "ca")?.file.display().to_string();
        let mut case = stack.case("tls", &[("KAFKA_TLS_CA", &ca)])?;
        case.send()?;
        case.start()?;
        case.broken(2, "Telegraf uses TLS, and the port does not; or the broker needs a user and password")?;
        case.telegraf()?.terminate()?;

        // InfluxDB.
        let mut case = stack.case("no-bucket", &[])?;
        case.send()?;
        case.start()?;
        case.broken(4, "no such bucket")?;
        case.telegraf()?.terminate()?;
        stack.influx(&["bucket", "create", "--name", BUCKET])?;
        stack.influxdb.apply(&repository("telegraf/influxdb-template.yml"), &[])?;

        let buckets = stack.influxdb.list("buckets")?;
        let other = buckets.iter().find(|bucket| bucket["name"] == "initial").and_then(|bucket| bucket["id"].as_str());
        let other = other.context("there is no other bucket")?;
        let token = stack.influx(&["auth", "create", "--write-bucket", other, "--hide-headers"])?;
        let token = token.split('\t').nth(2).context("no token")?;
        let mut case = stack.case("token-of-another-bucket", &[("INFLUX_TOKEN", token)])?;
        case.send()?;
        case.start_packaged()?;
        case.broken(4, "Telegraf's token may not write to the bucket")?;
        case.telegraf()?.terminate()?;

        // What converts, and its journal.
        let mut case = stack.case("rejected", &[])?;
        case.produce("{\"algorithm_name\":\"credit_card_approval\",\"risk_score\":0.2")?;
        case.start()?;
        case.broken(3, "the message is invalid")?;
        case.telegraf()?.terminate()?;

        let mut case = stack.case("read-only-journal", &[])?;
        let journal = dir.path().join("journal-read-only-journal");
        fs::create_dir(&journal)?;
        case.send()?;
        let mut telegraf = Command::new(READ_ONLY[0]);
        telegraf.args(&READ_ONLY[1..]).arg(journal).arg(stack::telegraf_binary()?);
        case.start_with(telegraf, PACKAGED)?;
        case.broken(3, "Telegraf's user cannot write to the journal folder, or its disk is full")?;
        // Points arrive all the same.
        case.shows(4)?;
        case.telegraf()?.terminate()?;
        stack.empty()?;

        // The clock.
        for (name, late, cause) in [
            ("ahead", -1, "the time in the message is an hour ahead, so dashboards do not show it yet"),
            ("behind", 1, "the time in the message is an hour behind, so the last hour does not show it"),
        ] {
            let mut case = stack.case(name, &[])?;
            case.late = SignedDuration::from_hours(late);
            case.send()?;
            case.start()?;
            case.broken(MINUTES, cause)?;
            ensure!(!case.is_on_the_dashboard()?, "{name}: it is on the dashboard");
            case.telegraf()?.terminate()?;
            stack.empty()?;
        }

        let mut case = stack.case("well", &[])?;
        case.send()?;
        case.start()?;
        case.well(5)?;
        ensure!(case.is_on_the_dashboard()?, "it is not on the dashboard");
        case.telegraf()?.terminate()?;

        let documented =
            stack.steps.iter().flat_map(|(number, step)| step.symptoms.keys().map(|it| (*number, it.clone())));
        assert_eq!(documented.collect::<BTreeSet<_>>(), *stack.seen.borrow(), "symptoms that no case has, or twice");
        Ok(())
    });
}

#[test]
fn an_ellipsis_is_any_text_within_a_line() {
    assert!(is_shown("a…c\n… d  e\n", "abc\nx d e\n"));
    assert!(is_shown("a…\n", "a and more\n"));
    for lines in ["abc\n", "abcd\nx d e\n", "abc\nx d e\nmore\n", "bc\nx d e\n"] {
        assert!(!is_shown("a…c\n… d e\n", lines), "{lines}");
    }
    assert!(!is_shown("", "a\n") && is_shown("", ""));
}
