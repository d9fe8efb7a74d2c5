//! docs/recipes.md and docs/drift.md, block by block, as they stand there, on real servers: Kafka, kcat, InfluxDB and its
//! `influx`, Telegraf.

mod envelopes;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;

use crate::shell::{Outcome, Shell, end};
use crate::support::{LONG, TOPIC, environment, shipped_configuration, turn};
use anyhow::{Context, Result, ensure};
use fixtures::document::{Block, blocks};
use fixtures::{Call, program, repository};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use stack::{
    BUCKET, Descendant, Dir, Influxdb, Kafka, ORG, Point, Process, TOKEN, Telegraf, Value, influx_binary, kcat_binary,
    telegraf_binary, wait_for,
};

const DOCUMENT: &str = "docs/recipes.md";

/// What tells the block that reads all of the topic.
const WHOLE: &str = "-t insights -C -e -q | telegraf-algorithmia --input json-lines | influx";

/// The block below a heading that has a certain text, behind those commands that all blocks take.
fn recipe(heading: &str, text: &str) -> Result<Block> {
    let mut blocks = blocks(&repository(DOCUMENT))?;
    let common = blocks[0].text.clone();
    ensure!(common.starts_with("export INFLUX_HOST="), "{DOCUMENT} begins with another block");
    let found = blocks.iter().position(|block| block.heading == heading && block.text.contains(text));
    let found = found.with_context(|| format!("{DOCUMENT} has no block with {text:?} below {heading:?}"))?;
    let mut block = blocks.swap_remove(found);
    block.text.insert_str(0, &common);
    Ok(block)
}

/// The same block with other values in place of the document's.
fn with<const N: usize>(mut block: Block, values: [(&str, &str); N]) -> Result<Block> {
    for (from, to) in values {
        ensure!(block.text.contains(from), "the block does not say {from:?}:\n{}", block.text);
        block.text = block.text.replace(from, to);
    }
    Ok(block)
}

/// A shell that has the document's commands, and the servers where the document has them.
fn shell<'a>(dir: &'a Dir, kafka: &Kafka, influxdb: &Influxdb) -> Result<Shell<'a>> {
    Ok(Shell::new(dir)?
        .command("kcat", kcat_binary()?)?
        .command("influx", influx_binary()?)?
        .command("telegraf", telegraf_binary()?)?
        .command("telegraf-algorithmia", program())?
        // The user's own settings of either have no influence.
        .set("KCAT_CONFIG", dir.write("kcat.conf", "")?)
        .set("INFLUX_CONFIGS_PATH", dir.path().join("influx-configs"))
        .replace("localhost:9092", kafka.broker())
        .replace("http://localhost:8086", influxdb.url())
        .replace("my-org", ORG)
        .replace("my-token", TOKEN)
        .within(repository(".")))
}

/// The same for telegraf-direct.conf, whose group and journal are others than those of [`environment`].
fn direct_shell<'a>(dir: &'a Dir, kafka: &Kafka, influxdb: &Influxdb) -> Result<Shell<'a>> {
    let journal = dir.path().join("journal-direct");
    Ok(shell(dir, kafka, influxdb)?.set("KAFKA_CONSUMER_GROUP", "direct").set("ALGORITHMIA_JOURNAL", journal))
}

/// A message as a model sends it, which says when it was called.
fn message(number: usize) -> String {
    Call::numbered(number, "2024-01-01").to_string()
}

fn messages(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(message).collect()
}

fn request_ids(numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    numbers.map(|number| format!("req-{number}")).collect()
}

/// The request_ids of all points, none of which may be there twice.
fn stored_ids(influxdb: &Influxdb, bucket: &str) -> Result<BTreeSet<String>> {
    let stored = influxdb.strings(bucket, "algorithmia", "request_id")?;
    let ids: BTreeSet<_> = stored.iter().cloned().collect();
    ensure!(ids.len() == stored.len(), "{} points of {} calls", stored.len(), ids.len());
    Ok(ids)
}

fn make_bucket(influxdb: &Influxdb, name: &str) -> Result<()> {
    influxdb.post_json("/api/v2/buckets", &json!({"orgID": influxdb.org_id(), "name": name}))?;
    Ok(())
}

/// A moment that lies behind all that has been produced, and before all that will be, as `date -d` reads it.
fn moment() -> Result<String> {
    let millisecond = jiff::Timestamp::now().as_millisecond() + 1;
    wait_for("the next millisecond", LONG, || {
        Ok((jiff::Timestamp::now().as_millisecond() > millisecond).then_some(()))
    })?;
    Ok(format!("@{}.{:03}", millisecond / 1000, millisecond % 1000))
}

/// Runs a Telegraf until it has stored all that the topic holds for its group.
fn run_telegraf(
    telegraf: &Telegraf,
    kafka: &Kafka,
    group: &str,
    influxdb: &Influxdb,
    bucket: &str,
    count: usize,
) -> Result<()> {
    wait_for("all points in InfluxDB", LONG, || {
        telegraf.ensure_running()?;
        Ok((influxdb.count(bucket, "algorithmia", "request_id")? >= count as u64).then_some(()))
    })?;
    wait_for("the commit", LONG, || Ok((kafka.lag(group, TOPIC)? == 0).then_some(())))?;
    telegraf.terminate()?;
    Ok(())
}

#[test]
fn a_topic_is_shown() {
    let _turn = turn();
    stack::test("look", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 2)?;
        kafka.produce(TOPIC, messages(0..30))?;
        let influxdb = Influxdb::start(dir)?;
        let shown = shell(dir, &kafka, &influxdb)?.succeed(&recipe("Look at a topic", "-o -10")?)?;
        let ids: BTreeSet<_> =
            shown.lines().filter_map(|line| line.split("request_id=\"").nth(1)?.split('"').next()).collect();
        let expected = request_ids(10..30);
        assert_eq!(ids, expected.iter().map(String::as_str).collect(), "the last ten of each of two partitions");
        Ok(())
    });
}

#[test]
fn gaps_are_filled_and_nothing_is_there_twice() {
    let _turn = turn();
    stack::test("backfill", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 2)?;
        let influxdb = Influxdb::start(dir)?;
        let shell = shell(dir, &kafka, &influxdb)?;
        let fill = |text: &str| recipe("Fill a gap", text);

        // Telegraf has stored the first 200 messages, and none of those that came later.
        kafka.produce(TOPIC, messages(0..200))?;
        let environment = environment(dir, kafka.broker(), influxdb.url());
        let telegraf = Telegraf::start(dir, shipped_configuration(), environment.clone())?;
        run_telegraf(&telegraf, &kafka, crate::support::GROUP, &influxdb, BUCKET, 200)?;
        let by_telegraf = influxdb.points(BUCKET, "algorithmia")?;
        assert_eq!(stored_ids(&influxdb, BUCKET)?, request_ids(0..200));
        let before = moment()?;
        kafka.produce(TOPIC, messages(200..300))?;
        let after = moment()?;
        kafka.produce(TOPIC, messages(300..400))?;

        // 30 messages of partition 0, which has those with even numbers.
        shell.succeed(&with(fill("-o 1000")?, [("-o 1000", "-o 95"), ("-c 500", "-c 30")])?)?;
        let mut expected = request_ids(0..200);
        expected.extend((95..125).map(|offset| format!("req-{}", 2 * offset)));
        assert_eq!(stored_ids(&influxdb, BUCKET)?, expected);

        let times = [("2026-11-20 08:00 UTC", &*before), ("2026-11-20 09:30 UTC", &*after)];
        shell.succeed(&with(fill("date -d")?, times)?)?;
        expected.extend(request_ids(200..300));
        assert_eq!(stored_ids(&influxdb, BUCKET)?, expected);

        let whole = || fill(WHOLE);
        shell.succeed(&whole()?)?;
        assert_eq!(stored_ids(&influxdb, BUCKET)?, request_ids(0..400));
        shell.succeed(&whole()?)?;
        let now = influxdb.points(BUCKET, "algorithmia")?;
        assert_eq!(now.len(), 400);
        for point in &by_telegraf {
            assert!(now.contains(point), "Telegraf has stored it otherwise: {point:?}");
        }

        // With other options on one of the roads, the document promises nothing.
        shell.succeed(&with(
            whole()?,
            [("telegraf-algorithmia --input", "telegraf-algorithmia --exact-time --input")],
        )?)?;
        assert!(influxdb.points(BUCKET, "algorithmia")?.len() > 400);

        // A Telegraf that gives the points a tag.
        make_bucket(&influxdb, "tagged")?;
        let conf = fs::read_to_string(shipped_configuration())?;
        ensure!(conf.contains("\n  # topic_tag = \"topic\""), "telegraf.conf names topic_tag no more");
        let conf = dir.write("tagged.conf", conf.replace("\n  # topic_tag", "\n  topic_tag"))?;
        let tagged = [
            ("KAFKA_CONSUMER_GROUP", "tagged".to_owned()),
            ("INFLUX_BUCKET", "tagged".to_owned()),
            ("ALGORITHMIA_JOURNAL", dir.path().join("journal-tagged").display().to_string()),
        ];
        let telegraf = Telegraf::start(dir, conf, environment.into_iter().chain(tagged))?;
        run_telegraf(&telegraf, &kafka, "tagged", &influxdb, "tagged", 400)?;
        let tagged = influxdb.points("tagged", "algorithmia")?;
        assert_eq!(tagged[0].tags["topic"], TOPIC);
        shell.succeed(&with(recipe("The same tags", "topic=")?, [("--bucket insights", "--bucket tagged")])?)?;
        assert_eq!(influxdb.points("tagged", "algorithmia")?, tagged);
        shell.succeed(&with(whole()?, [("--bucket insights", "--bucket tagged")])?)?;
        assert_eq!(influxdb.points("tagged", "algorithmia")?.len(), 800, "other tags make other points");

        // The journal of the first Telegraf, into a bucket that has none of it.
        make_bucket(&influxdb, "replayed")?;
        let journal = dir.path().join("journal").display().to_string();
        let replay = recipe("Replay the journal", "replay")?;
        shell.succeed(&with(
            replay,
            [("/var/lib/telegraf-algorithmia", &journal), ("--bucket insights", "--bucket replayed")],
        )?)?;
        assert_eq!(influxdb.points("replayed", "algorithmia")?, by_telegraf);
        Ok(())
    });
}

#[test]
fn failures_are_seen() {
    let _turn = turn();
    stack::test("failures", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start(dir)?;
        let shell = shell(dir, &kafka, &influxdb)?;
        let whole = || recipe("Fill a gap", WHOLE);
        let fails = |block: Block, reason: &str| -> Result<()> {
            let Outcome { status, stderr, .. } = shell.run(&block)?;
            ensure!(!status.success() && stderr.contains(reason), "{status}, and not {reason:?}:\n{stderr}");
            Ok(())
        };

        // kcat fails, and nothing behind it does.
        let no_topic = || with(whole()?, [("-t insights", "-t no-such-topic")]);
        fails(no_topic()?, "Unknown topic")?;
        shell.succeed(&with(no_topic()?, [("set -o pipefail\n", "")])?)?;
        // influx fails.
        kafka.produce(TOPIC, messages(0..10))?;
        fails(
            with(whole()?, [("--bucket insights", "--bucket no-such-bucket")])?,
            "bucket \"no-such-bucket\" not found",
        )?;

        // One batch, and a point in its middle whose field has another type than the bucket has.
        influxdb.write(
            "algorithmia,algorithm_name=credit_card_approval,algorithm_owner=asli score=\"text\" 1704096000000000000",
        )?;
        let other_type = message(10).replace("risk_score", "score");
        kafka.produce(TOPIC, [other_type, message(11)])?;
        fails(whole()?, "partial write: field type conflict")?;
        assert_eq!(stored_ids(&influxdb, BUCKET)?, &request_ids(0..10) | &request_ids(11..12), "all but the one");

        // Not all messages are good: nothing is written.
        kafka.produce(TOPIC, ["{"])?;
        make_bucket(&influxdb, "strict")?;
        let strict = || {
            with(
                recipe("Fill a gap", "--strict")?,
                [
                    ("points.lp", &*dir.path().join("points.lp").display().to_string()),
                    ("--bucket insights", "--bucket strict"),
                ],
            )
        };
        fails(strict()?, "rejected a message, invalid_json")?;
        assert_eq!(stored_ids(&influxdb, "strict")?, BTreeSet::new());
        // Up to the tenth, all are.
        shell.succeed(&with(strict()?, [("-C -e", "-c 10 -C -e")])?)?;
        assert_eq!(stored_ids(&influxdb, "strict")?, request_ids(0..10));
        Ok(())
    });
}

#[test]
fn messages_are_kept_apart() {
    let _turn = turn();
    stack::test("apart", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start(dir)?;
        let shell = shell(dir, &kafka, &influxdb)?;
        let pretty = message(3).replace(',', ",\n  ");
        // Behind the first, the next message could be a part of it.
        let cut = r#"{"algorithm_name":"a","x":"#;
        let no_time = r#"{"algorithm_name":"a","request_id":"no time","text":"\\ \" é"}"#;
        let cut_pretty = pretty.rsplit_once('\n').context("it has several lines")?.0;
        let good = [message(0), message(1), message(2), pretty.clone(), no_time.to_owned(), message(4)];
        let [first, second, third, fourth, fifth, sixth] = &good;
        kafka.produce(TOPIC, [first, cut, second, cut_pretty, third, fourth, fifth, "text", "\"", sixth])?;
        let tombstone = "echo key: | kcat -b localhost:9092 -t insights -P -K: -Z\n".to_owned();
        shell.succeed(&Block { text: tombstone, language: String::new(), heading: String::new(), line: 0 })?;
        let mut all = request_ids(0..5);
        all.insert("no time".to_owned());

        make_bucket(&influxdb, "stream")?;
        let whole = recipe("Fill a gap", WHOLE)?;
        shell.succeed(&with(whole, [("--bucket insights", "--bucket stream"), (" --input json-lines", "")])?)?;
        assert_eq!(stored_ids(&influxdb, "stream")?, all, "no other is hurt");
        // The two that are cut, the text and the quote.
        assert_eq!(influxdb.points("stream", "algorithmia_rejected")?.len(), 4);

        let apart = || recipe("Keep messages apart", "perl");
        shell.succeed(&apart()?)?;
        assert_eq!(stored_ids(&influxdb, BUCKET)?, all);
        let points = influxdb.points(BUCKET, "algorithmia")?;
        let text = points.iter().find_map(|point| point.fields.get("text_text")).context("the text")?;
        assert_eq!(text, &Value::String("\\ \" é".to_owned()));
        let rejected = influxdb.points(BUCKET, "algorithmia_rejected")?;
        // InfluxDB's own CSV, in which answers come, leaves out carriage returns.
        let payloads: BTreeSet<_> = rejected.iter().map(|point| format!("{:?}", point.fields["payload"])).collect();
        let expected = [cut, &cut_pretty.replace('\n', ""), "text", "\"", ""];
        let expected = expected.map(|text| format!("{:?}", Value::String(text.to_owned())));
        assert_eq!(payloads, BTreeSet::from(expected));

        shell.succeed(&apart()?)?;
        assert_eq!(influxdb.points(BUCKET, "algorithmia")?, points, "the same again, without a time too");
        assert_eq!(influxdb.points(BUCKET, "algorithmia_rejected")?, rejected);

        make_bucket(&influxdb, "telegraf")?;
        let mut variables = environment(dir, kafka.broker(), influxdb.url());
        variables.push(("INFLUX_BUCKET", "telegraf".to_owned()));
        let telegraf = Telegraf::start(dir, shipped_configuration(), variables)?;
        wait_for("all points", LONG, || {
            telegraf.ensure_running()?;
            Ok((stored_ids(&influxdb, "telegraf")? == all).then_some(()))
        })?;
        telegraf.terminate()?;
        assert_eq!(influxdb.points("telegraf", "algorithmia")?, points, "Telegraf makes the same");
        Ok(())
    });
}

/// What the document says of `influx write` and of texts with line breaks, and that Telegraf has no such trouble.
#[test]
fn line_breaks_are_for_telegraf() {
    let _turn = turn();
    stack::test("line-breaks", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start(dir)?;
        let shell = shell(dir, &kafka, &influxdb)?.set("INFLUX_BUCKET", "telegraf");
        let whole = || recipe("Fill a gap", WHOLE);
        let text = |number: usize| message(number).replacen('{', r#"{"text":"a\n\nb","#, 1);
        kafka.produce(TOPIC, [text(0)])?;
        shell.succeed(&whole()?)?;
        let lost = influxdb.points(BUCKET, "algorithmia")?;
        assert_eq!(lost[0].fields["text_text"], Value::String("a\nb".to_owned()), "the empty line is lost");
        // Several batches, nearly each line of which is one within a text.
        let long = "word\\n".repeat(100);
        kafka.produce(TOPIC, (1..3000).map(|number| text(number).replace("\\n\\n", &long)))?;
        let Outcome { status, stderr, .. } = shell.run(&whole()?)?;
        ensure!(!status.success() && stderr.contains("unbalanced quotes"), "{status}:\n{stderr}");

        make_bucket(&influxdb, "telegraf")?;
        let journal = dir.path().join("journal").display().to_string();
        let block = recipe("Fill a gap through Telegraf", "backfill")?;
        let telegraf = shell.start(&with(block, [("/var/lib/telegraf-algorithmia-backfill", &journal)])?)?;
        wait_for("all points", LONG, || {
            telegraf.ensure_running()?;
            Ok((influxdb.count("telegraf", "algorithmia", "text_text")? == 3000).then_some(()))
        })?;
        end(&telegraf)?;
        let points = influxdb.points("telegraf", "algorithmia")?;
        assert_eq!(points[0].fields["text_text"], Value::String("a\n\nb".to_owned()));
        Ok(())
    });
}

/// Runs the block of telegraf-direct.conf until its group has nothing left to commit, and `done` says so too; ends it, and gives
/// its log. kcat commits every 5 s, and not when it ends.
fn run_direct(shell: &Shell, kafka: &Kafka, mut done: impl FnMut() -> Result<bool>) -> Result<String> {
    let telegraf = shell.start(&recipe("Without kafka_consumer", "telegraf-direct.conf")?)?;
    wait_for("all points without kafka_consumer", LONG, || {
        telegraf.ensure_running()?;
        Ok((done()? && kafka.lag("direct", TOPIC)? == 0).then_some(()))
    })?;
    end(&telegraf)?;
    ensure!(kafka.lag("direct", TOPIC)? == 0, "kcat has not committed what it has read");
    Ok(telegraf.stderr())
}

#[test]
fn the_direct_road_makes_the_same_points() {
    let _turn = turn();
    stack::test("direct", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 3)?;
        let sample = fs::read_to_string(repository("examples/insights.jsonl"))?;
        let count = 20_000;
        kafka.produce(TOPIC, sample.lines().map(str::to_owned).chain(messages(0..count)))?;
        let influxdb = Influxdb::start(dir)?;
        let telegraf = Telegraf::start(dir, shipped_configuration(), environment(dir, kafka.broker(), influxdb.url()))?;
        wait_for("all points", LONG, || {
            telegraf.ensure_running()?;
            Ok((stored_ids(&influxdb, BUCKET)?.len() >= count && kafka.lag(crate::support::GROUP, TOPIC)? == 0)
                .then_some(()))
        })?;
        telegraf.terminate()?;
        let expected = points(&influxdb, BUCKET)?;
        ensure!(expected.len() > count, "Telegraf has stored {} points", expected.len());

        make_bucket(&influxdb, "direct")?;
        let shell = direct_shell(dir, &kafka, &influxdb)?.set("INFLUX_BUCKET", "direct");
        let log = run_direct(&shell, &kafka, || Ok(stored_ids(&influxdb, "direct")?.len() >= count))?;
        assert_eq!(points(&influxdb, "direct")?, expected);
        ensure!(!log.contains(" E! "), "Telegraf's log has errors:\n{log}");

        // A message that comes alone does not wait for others; SIGTERM does not end kcat; and when it ends, another one goes on.
        let block = shell.start(&recipe("Without kafka_consumer", "telegraf-direct.conf")?)?;
        let comes = |number: usize| -> Result<()> {
            kafka.produce(TOPIC, [message(number)])?;
            wait_for("the message", LONG, || {
                block.ensure_running()?;
                Ok(stored_ids(&influxdb, "direct")?.contains(&format!("req-{number}")).then_some(()))
            })
        };
        comes(count)?;
        let first = kcat(&block)?;
        first.terminate()?;
        comes(count + 1)?;
        first.kill()?;
        comes(count + 2)?;
        end(&block)?;
        ensure!(block.stderr().contains("Restarting in 1s"), "kcat did not end:\n{}", block.stderr());
        Ok(())
    });
}

/// All processes that a block has started.
fn processes(block: &Process) -> Result<Vec<Descendant>> {
    let mut found = Vec::new();
    let mut left = block.children()?;
    while let Some(process) = left.pop() {
        left.extend(process.children()?);
        found.push(process);
    }
    Ok(found)
}

/// The kcat that a block has started.
fn kcat(block: &Process) -> Result<Descendant> {
    let is_kcat = |process: &Descendant| {
        fs::read_to_string(format!("/proc/{}/comm", process.pid())).unwrap_or_default().trim() == "kcat"
    };
    wait_for("kcat", LONG, || Ok(processes(block)?.into_iter().find(is_kcat)))
}

/// All points and rejections; one that has the time at which it was read is without a time here.
fn points(influxdb: &Influxdb, bucket: &str) -> Result<Vec<String>> {
    let mut points = Vec::new();
    for measurement in ["algorithmia", "algorithmia_rejected"] {
        for Point { tags, fields, time_ns, .. } in influxdb.points(bucket, measurement)? {
            // The messages that say when the call was made say that it was long ago.
            let time = if jiff::Timestamp::now().as_nanosecond() - i128::from(time_ns) < HOUR { 0 } else { time_ns };
            points.push(format!("{measurement} {tags:?} {fields:?} {time}"));
        }
    }
    points.sort();
    Ok(points)
}

const HOUR: i128 = 3_600_000_000_000;

/// Sends a signal to all processes of a block, and waits for its end.
fn signal_all(block: &Process, signal: Signal) -> Result<()> {
    for process in processes(block)? {
        let pid = Pid::from_raw(process.pid() as i32).context("a process without a number")?;
        if process.running() {
            // It may have ended together with another one.
            let _ = kill_process(pid, signal);
        }
    }
    block.wait(LONG).map(drop)
}

/// Telegraf and kcat end in every way while messages arrive, and no message is lost.
#[test]
fn the_direct_road_loses_no_message_when_kcat_ends() {
    let endings: [fn(&Process) -> Result<()>; 4] = [
        |block| end(block).map(drop),
        // As systemd stops a service.
        |block| signal_all(block, Signal::TERM),
        // As Ctrl-C in a terminal.
        |block| signal_all(block, Signal::INT),
        |block| {
            block.children()?.iter().try_for_each(Descendant::kill)?;
            block.wait(LONG).map(drop)
        },
    ];
    let _turn = turn();
    stack::test("direct-ends", |dir| {
        let kafka = Kafka::start(dir)?;
        // With one partition, what kcat reads next is a message, and never the end of another partition.
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start(dir)?;
        let shell = direct_shell(dir, &kafka, &influxdb)?;
        let name =
            blocks(&repository(DOCUMENT))?.into_iter().find(|block| block.heading == "Restarts without the wait");
        dir.write("kcat.conf", name.context("the document has no name for kcat")?.text)?;
        let produced = AtomicUsize::new(0);
        thread::scope(|scope| {
            // Messages arrive until `on` is dropped.
            let (on, off) = channel::<()>();
            let (kafka, produced) = (&kafka, &produced);
            let producer = scope.spawn(move || {
                while off.try_recv() == Err(TryRecvError::Empty) {
                    kafka.produce(TOPIC, [message(produced.load(SeqCst))])?;
                    produced.fetch_add(1, SeqCst);
                }
                anyhow::Ok(())
            });
            for ending in endings {
                let before = produced.load(SeqCst) as u64;
                let block = shell.start(&recipe("Without kafka_consumer", "telegraf-direct.conf")?)?;
                wait_for("a message that has come since the start", LONG, || {
                    block.ensure_running()?;
                    Ok((influxdb.count(BUCKET, "algorithmia", "request_id")? > before).then_some(()))
                })?;
                ending(&block)?;
            }
            drop(on);
            producer.join().expect("the producer does not panic")
        })?;
        run_direct(&shell, &kafka, || Ok(true))?;
        let mut lost = request_ids(0..produced.into_inner());
        let stored = stored_ids(&influxdb, BUCKET)?;
        lost.retain(|id| !stored.contains(id));
        ensure!(lost.is_empty(), "{} messages are lost, and {} are stored: {lost:?}", lost.len(), stored.len());
        Ok(())
    });
}

/// What telegraf-direct.conf keeps, by its journal: what Telegraf loses when it is killed.
#[test]
fn the_direct_road_survives_a_kill_of_telegraf() {
    let _turn = turn();
    stack::test("direct-kill", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start(dir)?;
        let shell = direct_shell(dir, &kafka, &influxdb)?;
        let count = 5000;
        kafka.produce(TOPIC, messages(0..count))?;
        influxdb.terminate()?;
        let block = shell.start(&recipe("Without kafka_consumer", "telegraf-direct.conf")?)?;
        wait_for("the commit of what is only in Telegraf's buffer", LONG, || {
            block.ensure_running()?;
            Ok((kafka.lag("direct", TOPIC)? == 0).then_some(()))
        })?;
        block.children()?.iter().try_for_each(Descendant::kill)?;
        block.wait(LONG)?;
        influxdb.restart()?;
        run_direct(&shell, &kafka, || Ok(influxdb.count(BUCKET, "algorithmia", "request_id")? >= count as u64))?;
        assert_eq!(stored_ids(&influxdb, BUCKET)?, request_ids(0..count));
        Ok(())
    });
}

/// What telegraf-direct.conf gives up: while InfluxDB is down nothing stays in Kafka, and Telegraf's buffer does not hold it all.
#[test]
fn the_direct_road_loses_what_telegrafs_buffer_cannot_hold() {
    let _turn = turn();
    stack::test("direct-overflow", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start(dir)?;
        let shell = direct_shell(dir, &kafka, &influxdb)?;
        let (count, buffer) = (130_000, 100_000);
        let conf = fs::read_to_string(repository("telegraf/telegraf-direct.conf"))?;
        ensure!(conf.contains(&format!("metric_buffer_limit = {buffer}\n")), "the buffer has another size");
        kafka.produce(TOPIC, messages(0..count))?;
        influxdb.terminate()?;
        let block = shell.start(&recipe("Without kafka_consumer", "telegraf-direct.conf")?)?;
        wait_for("kcat, which reads on", LONG, || {
            block.ensure_running()?;
            Ok((kafka.lag("direct", TOPIC)? == 0).then_some(()))
        })?;
        wait_for("the buffer", LONG, || Ok(block.stderr().contains("Metric buffer overflow").then_some(())))?;
        influxdb.restart()?;
        wait_for("what is left", LONG, || {
            block.ensure_running()?;
            Ok((influxdb.count(BUCKET, "algorithmia", "request_id")? >= buffer as u64).then_some(()))
        })?;
        end(&block)?;
        let stored = stored_ids(&influxdb, BUCKET)?;
        assert!(stored.len() < count, "nothing was lost");
        assert!(stored.contains(&format!("req-{}", count - 1)), "the oldest are dropped, not the latest");
        Ok(())
    });
}

/// Drift: installed, changed, made up for, counted anew, removed.
#[test]
fn drift_comes_looks_back_and_goes() {
    let _turn = turn();
    stack::test("drift-recipes", |dir| {
        let influxdb = Influxdb::start(dir)?;
        influxdb.apply(&repository("telegraf/influxdb-template.yml"), &[])?;
        let before = names(&influxdb)?;
        let shell = || -> Result<Shell<'_>> {
            Ok(Shell::new(dir)?
                .set("INFLUX_CONFIGS_PATH", dir.path().join("influx-configs"))
                .set("INFLUX_HOST", influxdb.url())
                .set("INFLUX_TOKEN", TOKEN)
                .replace("http://localhost:8086", influxdb.url())
                .replace("my-org", ORG)
                .replace("my-token", TOKEN))
        };
        let first = shell()?.command("influx", influx_binary()?)?.command("telegraf-algorithmia", program())?;
        let blocks: Vec<_> =
            blocks(&repository("docs/drift.md"))?.into_iter().filter(|block| block.language == "sh").collect();
        let [install, change, forget, look_back, remove] = <[Block; 5]>::try_from(blocks)
            .map_err(|blocks| anyhow::anyhow!("docs/drift.md has {} blocks of commands", blocks.len()))?;

        let said = first.succeed(&install)?;
        let brought = names(&influxdb)?;
        ensure!(brought.is_superset(&before) && brought.len() > before.len() + 3, "{brought:?}");
        let stack =
            said.lines().find_map(|line| line.strip_prefix("Stack ID: ")).context("no id of a stack is printed")?;

        // The hour is compared with all before the last one, so that it does not take a day.
        let edit = "sed -i 's/gap = 1d/gap = 2h/' influxdb-drift.yml\ninflux apply";
        let shell = first.replace("0123456789abcdef", stack);
        shell.succeed(&with(change, [("influx apply", edit)])?)?;
        ensure!(names(&influxdb)? == brought, "the same template again: {:?}", names(&influxdb)?);
        let tasks = influxdb.list("tasks")?;
        let edited = tasks.iter().filter(|task| task["flux"].as_str().is_some_and(|flux| flux.contains("gap = 2h")));
        ensure!(edited.count() == 2, "{tasks:?}");

        // The hour that has just begun may be over before its turn comes.
        const HOUR: i64 = 3_600_000_000_000;
        const CALLS: i64 = 600;
        let this_hour = jiff::Timestamp::now().as_nanosecond() as i64 / HOUR * HOUR;
        let calls: String = (-7..=0)
            .flat_map(|hour| (0..CALLS).map(move |call| (hour, call)))
            .map(|(hour, call)| {
                let time = this_hour + hour * HOUR + call * (HOUR / CALLS);
                // Half of the values of the latest hours are larger than those of the hours before.
                let score = (call * 7919 % CALLS) as f64 + if hour >= -1 { CALLS as f64 / 2.0 } else { 0.0 };
                format!("algorithmia,algorithm_name=a,algorithm_owner=o,algorithm_version=1 score={score} {time}\n")
            })
            .collect();
        influxdb.write(calls)?;
        let latest = [("run Histograms 192", "run Histograms 6"), ("run Measures 24", "run Measures 1")];
        let said = shell.succeed(&with(look_back, latest)?)?;
        ensure!(said.lines().count() == 7, "{said}");
        let drift = influxdb.points(BUCKET, "algorithmia_drift")?;
        let [point] = &drift[..] else { anyhow::bail!("there are {} points of drift: {drift:?}", drift.len()) };
        ensure!(point.tags["metric"] == "score", "{point:?}");
        // Of six hours the two before the latest are left out.
        ensure!(matches!(point.fields["current"], Value::Integer(CALLS)), "{point:?}");
        let Value::Integer(reference) = point.fields["reference"] else { anyhow::bail!("{point:?}") };
        ensure!(reference % CALLS == 0 && reference >= 3 * CALLS, "{point:?}");
        let Value::Float(psi) = point.fields["psi"] else { anyhow::bail!("{point:?}") };
        ensure!(psi > 0.25, "{point:?}");

        let count = |measurement: &str| Ok::<_, anyhow::Error>(influxdb.points(BUCKET, measurement)?.len());
        ensure!(count("algorithmia_histogram")? > 100 && count("algorithmia_summary")? > 0);
        shell.succeed(&forget)?;
        ensure!(count("algorithmia_histogram")? + count("algorithmia_summary")? + count("algorithmia_groups")? == 0);

        // Nobody is there to say yes.
        shell.succeed(&with(remove, [("stacks remove", "stacks remove --force")])?)?;
        ensure!(names(&influxdb)? == before, "left are {:?}", names(&influxdb)?);
        ensure!(count("algorithmia")? == 8 * CALLS as usize && count("algorithmia_drift")? == 1);
        Ok(())
    });
}

/// What templates have brought.
fn names(influxdb: &Influxdb) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for kind in ["buckets", "tasks", "checks", "dashboards", "labels", "variables"] {
        for item in influxdb.list(kind)? {
            let name = format!("{kind}: {}", item["name"].as_str().context("a thing without a name")?);
            ensure!(names.insert(name.clone()), "there are two of {name}");
        }
    }
    Ok(names)
}
