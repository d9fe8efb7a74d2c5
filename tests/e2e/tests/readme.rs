//! README.md, as it stands there: a stranger's first five minutes, on real servers. Every block of commands is run, in the order
//! of the file, or is in the list of those that something else runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Shell, end};
use crate::support::{LONG, TOPIC, turn};
use anyhow::{Context, Result, ensure};
use fixtures::document::{Block, blocks};
use fixtures::repository;
use stack::{BUCKET, Influxdb, Kafka, ORG, Receiver, TOKEN, wait_for};

/// What cannot be run here, and who runs it.
const ELSEWHERE: [(&str, &str); 5] = [
    (
        "sudo apt install ./dist/telegraf-algorithmia_*.deb\n",
        "it would change the system: package.rs runs it in a Debian of its own",
    ),
    (
        "tar -xzf dist/telegraf-algorithmia-*-x86_64-linux-musl.tar.gz\n\
         sudo install telegraf-algorithmia-*-x86_64-linux-musl/telegraf-algorithmia /usr/local/bin\n",
        "it would change the system: package.rs runs it in a Debian of its own",
    ),
    ("cargo run --release -p demo\n", "it goes on until it is told to end: demo.rs runs it"),
    (
        "cargo bench -p benches --bench pipeline -- --rounds 3\n",
        "it takes a quarter of an hour: .ci/run runs its short form",
    ),
    ("cargo test\ncargo test -p e2e\n", "this is part of it"),
];

#[test]
fn a_stranger_can_follow_it() {
    let _turn = turn();
    stack::test("readme", |dir| {
        let kafka = Kafka::start(dir)?;
        // Most brokers make a topic when it is first used; this one does not.
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start_empty(dir)?;
        let slack = Receiver::start()?;

        // As in the checkout, and what is written does not go there.
        symlink(repository("examples"), dir.path().join("examples"))?;
        let target = target()?;
        build(&target)?;
        let shell = Shell::new(dir)?
            .command("telegraf", stack::telegraf_binary()?)?
            .command("influx", stack::influx_binary()?)?
            .command("kcat", stack::kcat_binary()?)?
            // What is installed is what the rest of the file runs: it gets into the first folder of the PATH.
            .set("CARGO_INSTALL_ROOT", dir.path())
            .set("CARGO_TARGET_DIR", &target)
            .replace("--path .", format!("--path '{}'", repository("").display()))
            // The influx command knows its server in later terminals, too.
            .set("INFLUX_CONFIGS_PATH", dir.path().join("influx-configs"))
            .set("INFLUX_HOST", influxdb.url())
            .set("INFLUX_ORG", ORG)
            .set("INFLUX_TOKEN", TOKEN)
            .replace("http://localhost:8086", influxdb.url())
            .replace("localhost:9092", kafka.broker())
            .replace("my-org", ORG)
            .replace("my-token", TOKEN)
            .replace("https://hooks.slack.com/services/...", format!("{}/services/T0/B0/secret", slack.url()));

        let mut left = all()?.into_iter().filter(|block| !is_elsewhere(block));
        let mut next = |start: &str| {
            let block = left.next().with_context(|| format!("README.md has no block that starts with {start}"))?;
            ensure!(
                block.text.starts_with(start),
                "line {} of README.md: not the block that starts with {start}",
                block.line
            );
            Ok(block)
        };

        shell.succeed(&next("cargo install")?)?;
        ensure!(dir.path().join("bin/telegraf-algorithmia").exists(), "it is installed somewhere else");

        let telegraf = shell.start(&next("# 1. ")?)?;
        // The template brings the bucket, and the task that sends alerts comes last before Telegraf.
        wait_for("what the templates bring", LONG, || {
            telegraf.ensure_running()?;
            Ok(influxdb.task("Slack Alert").is_ok().then_some(()))
        })?;
        shell.succeed(&next("kcat -P")?)?;

        let shown = shell.succeed(&next("telegraf-algorithmia examples/insights.jsonl")?)?;
        let message = next("{")?;
        let messages = fs::read_to_string(repository("examples/insights.jsonl"))?;
        ensure!(messages.starts_with(&message.text), "the message of README.md is not the first one of examples/");
        let point = next("algorithmia,")?;
        ensure!(shown.starts_with(&point.text), "the message does not become README.md's point, but:\n{shown}");

        // The call that is too risky is one more.
        let converted = 1 + shown.lines().filter(|line| line.starts_with("algorithmia,")).count();
        let points = || -> Result<usize> { Ok(influxdb.points(BUCKET, "algorithmia")?.len()) };
        wait_for("all points", LONG, || {
            telegraf.ensure_running()?;
            Ok((points()? >= converted).then_some(()))
        })?;
        ensure!(points()? == converted, "{} points of {converted} calls", points()?);
        wait_for("the alert in Slack", LONG, || {
            telegraf.ensure_running()?;
            Ok(slack.requests().iter().any(|request| request.body.contains("Risk Score Alert")).then_some(()))
        })?;
        ensure!(dir.path().join("journal").is_dir(), "the journal is somewhere else");
        end(&telegraf)?;

        let of_that_day = || -> Result<usize> {
            let points = influxdb.points(BUCKET, "algorithmia")?;
            Ok(points.iter().filter(|point| point.time_ns / 86_400_000_000_000 == 18_678).count())
        };
        let before = of_that_day()?;
        shell.succeed(&next("telegraf-algorithmia --as")?)?;
        let tagged = fs::read_to_string(dir.path().join("points.lp"))?;
        ensure!(tagged.contains("approved=false"), "no approved=false among the points:\n{tagged}");
        ensure!(before > 0 && of_that_day()? == before, "a backfill does not overwrite what is there");

        let rest: Vec<_> = left.map(|block| block.line).collect();
        ensure!(rest.is_empty(), "blocks of README.md that nobody runs begin in the lines {rest:?}");
        Ok(())
    });
}

#[test]
fn what_is_run_elsewhere_is_there() -> Result<()> {
    let all = all()?;
    for (text, why) in ELSEWHERE {
        ensure!(all.iter().any(|block| block.text == text), "README.md does not say {text:?} ({why})");
    }
    let ci = fs::read_to_string(repository(".ci/run"))?;
    for line in [
        "cargo test --locked\n",
        "cargo test --locked -p e2e\n",
        "cargo bench --locked -p benches --bench pipeline -- --short\n",
    ] {
        ensure!(ci.contains(&format!(" {line}")), ".ci/run does not run {line:?}");
    }
    Ok(())
}

fn all() -> Result<Vec<Block>> {
    blocks(&repository("README.md"))
}

fn is_elsewhere(block: &Block) -> bool {
    ELSEWHERE.iter().any(|(text, _)| block.text == *text)
}

/// The folder that this test was built in.
fn target() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    Ok(test.ancestors().nth(3).context("the test is not in target/PROFILE/deps")?.to_owned())
}

/// Builds what `cargo install` takes, where that of the package is not there yet: the block then ends in the time that it has on the
/// slowest machine.
fn build(target: &Path) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--bin", "telegraf-algorithmia"]).env("CARGO_TARGET_DIR", target);
    let output = cargo.current_dir(repository("")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
