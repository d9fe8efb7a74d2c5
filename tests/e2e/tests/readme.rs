//! README.md, as it stands there: a stranger's first five minutes, on real servers. Every block of commands is run, or is in the
//! list of those that something else runs. The order is that of the file, but the program is installed first, and the four steps
//! are followed twice. What is no command is compared in tests/docs.rs.

use std::collections::BTreeSet;
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
const ELSEWHERE: [(&str, &str); 3] = [
    (
        "sudo apt install ./dist/telegraf-algorithmia_*_$(dpkg --print-architecture).deb\n",
        "it would change the system: package.rs runs it in a Debian of its own",
    ),
    (
        "tar -xzf dist/telegraf-algorithmia-*-$(uname -m)-linux-musl.tar.gz\n\
         sudo install telegraf-algorithmia-*-linux-musl/telegraf-algorithmia /usr/local/bin\n",
        "it would change the system: package.rs runs it in a Debian of its own",
    ),
    ("cargo run --release -p demo\n", "it goes on until it is told to end: demo.rs runs it"),
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

        let mut left = all()?.into_iter().filter(|block| block.language == "sh" && !is_elsewhere(block));
        let mut next = |start: &str| {
            let block = left.next().with_context(|| format!("README.md has no block that starts with {start}"))?;
            ensure!(
                block.text.starts_with(start),
                "line {} of README.md: not the block that starts with {start}",
                block.line
            );
            Ok(block)
        };

        let example = next("head -n 1 ")?;
        shell.succeed(&next("cargo install")?)?;
        ensure!(dir.path().join("bin/telegraf-algorithmia").exists(), "it is installed somewhere else");
        let shown = shell.succeed(&example)?;
        let point = all()?.into_iter().find(|block| block.language == "text").context("README.md shows no output")?;
        ensure!(shown == point.text, "the first message does not become README.md's point, but:\n{shown}");

        let steps = next("# 1. ")?;
        let journal = dir.path().join("journal");
        let first = shell.start(&steps)?;
        wait_for("Telegraf to start what converts", LONG, || {
            first.ensure_running()?;
            Ok(journal.is_dir().then_some(()))
        })?;
        end(&first)?;
        let resources = names(&influxdb)?;
        ensure!(resources.contains(&"Slack Alert".to_owned()), "{resources:?}");
        ensure!(resources.iter().any(|name| name == "Algorithmia - Pipeline Health"), "{resources:?}");

        let telegraf = shell.start(&steps)?;
        wait_for("both templates to be applied again", LONG, || {
            telegraf.ensure_running()?;
            Ok((stacks(&telegraf.stdout()).len() == 2).then_some(()))
        })?;
        ensure!(stacks(&first.stdout()) == stacks(&telegraf.stdout()), "the second time there are other stacks");
        let again = names(&influxdb)?;
        ensure!(again == resources, "the steps were followed twice, and there are {again:?} in place of {resources:?}");
        let distinct: BTreeSet<_> = again.iter().collect();
        ensure!(distinct.len() == again.len(), "a name is there twice: {again:?}");
        shell.succeed(&next("kcat -P")?)?;

        let program = dir.path().join("bin/telegraf-algorithmia");
        let output = Command::new(program).arg(repository("examples/insights.jsonl")).output()?;
        let shown = String::from_utf8(output.stdout)?;
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

/// The names of all dashboards, tasks and checks, each as often as it is there.
fn names(influxdb: &Influxdb) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for kind in ["dashboards", "tasks", "checks"] {
        let all = influxdb.list(kind)?;
        names.extend(all.iter().filter_map(|resource| Some(resource["name"].as_str()?.to_owned())));
    }
    names.sort();
    Ok(names)
}

/// The ids of the stacks that `influx apply` says at its end.
fn stacks(stdout: &str) -> Vec<String> {
    stdout.lines().filter_map(|line| Some(line.strip_prefix("Stack ID: ")?.to_owned())).collect()
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
