//! Another converter goes on where one has stopped, at any byte, and knows of the input before it nothing but a word.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use fixtures::telegraf::metric;
use reference::product::converter;
use reference::streams;
use reference::{Format, Line, NOW, Options, generate, lines};
use telegraf_algorithmia::{Converter, Standing};

/// The converter that stands there, by the word for it.
fn resumed(standing: Standing, options: &Options) -> Converter {
    let mut converter = converter(options);
    converter.resume(standing.to_string().parse().expect("a word for a standing"));
    converter
}

/// The lines of an output, without the times that the clock gave.
fn decoded(output: &[u8]) -> Vec<Line> {
    without_rests(output).0
}

fn convert(text: &[u8], options: &Options) -> Vec<Line> {
    let (mut converter, mut out) = (converter(options), Vec::new());
    converter.push(text, &mut out, &mut ());
    converter.finish(&mut out, &mut ());
    decoded(&out)
}

/// The lines of an output but for rejections of what was left of a message, and how many of these there are.
fn without_rests(output: &[u8]) -> (Vec<Line>, usize) {
    const REST: &str = "was lost when a process was killed; this is the rest of it";
    let lines = lines::split(output).expect("line protocol").into_iter();
    let lines = lines.map(|line| std::str::from_utf8(line).expect("UTF-8"));
    let (rests, others): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.contains(REST));
    let mut others: Vec<Line> = others.into_iter().map(lines::decode).collect();
    for line in others.iter_mut().filter(|line| (NOW..NOW + 1_000_000).contains(&line.time)) {
        line.time = NOW;
    }
    (others, rests.len())
}

/// Whether all of these lines are among others, in the same order.
fn is_part(part: &[Line], lines: &[Line]) -> bool {
    let mut lines = lines.iter();
    part.iter().all(|line| lines.any(|other| other == line))
}

/// Cuts a text of messages, each with its line break, and has another converter go on.
fn check(messages: &[Vec<u8>], options: &Options, at: Index) {
    let text = messages.concat();
    let cut = at.index(text.len() + 1);
    let (mut first, mut out) = (converter(options), Vec::new());
    first.push(&text[..cut], &mut out, &mut ());

    // What is pending is still to come.
    let mut second = resumed(first.standing_before(), options);
    let mut kept = out.clone();
    second.push(&text[cut - first.pending()..], &mut kept, &mut ());
    second.finish(&mut kept, &mut ());
    assert_eq!(decoded(&kept), convert(&text, options), "{} at {cut}", String::from_utf8_lossy(&text));

    // It is gone.
    let (standing, not_looked_at) = first.standing_behind();
    let mut second = resumed(standing, options);
    second.push(&text[cut - not_looked_at..], &mut out, &mut ());
    second.finish(&mut out, &mut ());
    let mut end = 0;
    let whole = |message: &&Vec<u8>| {
        end += message.len();
        !standing.is_within() || !(end - message.len()..end).contains(&(cut - 1))
    };
    let others: Vec<u8> = messages.iter().filter(whole).flatten().copied().collect();
    let (lines, rests) = without_rests(&out);
    let shown = || format!("{lines:?}\nfor {:?} at {cut}, {standing}", String::from_utf8_lossy(&text));
    let (others, all) = (convert(&others, options), convert(&text, options));
    if options.input == Format::Influx {
        assert!(lines == others, "{}", shown());
    } else {
        // Of an array, the first items may have come out before.
        assert!(is_part(&others, &lines) && is_part(&lines, &all), "{}", shown());
    }
    assert_eq!(rests, usize::from(standing.is_within()), "{} at {cut}", String::from_utf8_lossy(&text));
}

proptest! {
    #![proptest_config(generate::config())]

    #[test]
    fn of_metrics_it_loses_none_but_the_one_that_was_cut(
        messages in vec(generate::message(), 1..5),
        note in "[a-z\\\\\" \n=,{}]{0,12}",
        at in any::<Index>(),
    ) {
        let mut metrics: Vec<Vec<u8>> = (1..)
            .zip(&messages)
            .map(|(index, message)| metric(message, 1_600_000_000_000_000_001 + 1_000_000_007 * index).into_bytes())
            .collect();
        let note = note.replace('\\', r"\\").replace('"', r#"\""#);
        metrics.push(format!("cpu\\ load,host=a\\ b,te\\=st=\\\" usage\\ \"=1,note=\"{note}\" 5\n").into_bytes());
        let turn = at.index(metrics.len());
        metrics.rotate_right(turn);
        for input in [Format::Influx, Format::Auto] {
            check(&metrics, &Options { input, ..Options::default() }, at);
        }
    }

    #[test]
    fn of_json_it_loses_none_but_the_one_that_was_cut(
        messages in streams::messages(Just(false).boxed()),
        at in any::<Index>(),
    ) {
        let lines: Vec<Vec<u8>> = messages.iter().map(|message| [message.damaged("a", &[]), b"\n".to_vec()].concat()).collect();
        for input in [Format::Json, Format::JsonLines] {
            check(&lines, &Options { input, ..Options::default() }, at);
        }
    }
}

#[test]
fn the_rest_of_a_comment_is_none_of_a_message() {
    let options = Options { input: Format::Influx, ..Options::default() };
    let mut first = converter(&options);
    first.push(b"m f=1\n# a comm", &mut Vec::new(), &mut ());
    let (standing, _) = first.standing_behind();
    assert_eq!(standing.to_string(), "influx-comment");
    let mut out = Vec::new();
    resumed(standing, &options).push(b"ent \"\nm f=2\n", &mut out, &mut ());
    assert_eq!(out, b"m f=2\n");
}

#[test]
fn no_other_word_is_a_standing() {
    for text in ["", "influx-", "INFLUX", "xml"] {
        let error = text.parse::<Standing>().unwrap_err();
        assert_eq!(error.to_string(), format!("no converter stands at `{text}`"));
    }
    assert_eq!("start".parse(), Ok(Standing::default()));
}
