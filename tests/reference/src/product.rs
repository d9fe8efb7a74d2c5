//! Runs the product, and checks what must hold for any input at all.

use telegraf_algorithmia::{Converter, Event, Input, Kinds, Limits, Observer, Settings};

use super::{Format, NOW, Options, lines};

/// The product's settings for the choices of a run.
pub fn settings(options: &Options) -> Settings {
    let mut kinds = Kinds::default();
    for rule in &options.kinds {
        kinds.add(rule).unwrap_or_else(|_| panic!("not a kind: {rule}"));
    }
    Settings {
        sources: options.sources.clone(),
        field: options.field.clone(),
        measurement: options.measurement.clone(),
        input: match options.input {
            Format::Auto => Input::Auto,
            Format::Influx => Input::Influx,
            Format::Json => Input::Json,
            Format::JsonLines => Input::JsonLines,
        },
        renames: options.renames.iter().map(|rule| rule.parse().expect("a rename")).collect(),
        kinds,
        exact_time: options.exact_time,
        limits: Limits {
            message: options.message,
            fields: options.fields,
            nesting: options.nesting,
            items: options.items,
        },
        clock: || NOW,
    }
}

/// Counts events. What they are called is the product's business.
#[derive(Default)]
pub struct Events(pub usize);

impl Observer for Events {
    fn observe(&mut self, _: Event<'_>) {
        self.0 += 1;
    }
}

pub fn convert(input: &[u8], options: &Options) -> Vec<u8> {
    convert_chunks(&[input], options)
}

pub fn convert_chunks(chunks: &[&[u8]], options: &Options) -> Vec<u8> {
    let mut converter = converter(options);
    let mut out = vec![];
    for chunk in chunks {
        converter.push(chunk, &mut out, &mut ());
    }
    converter.finish(&mut out, &mut ());
    out
}

/// Converts with pauses behind every message, and takes the lines in each.
pub fn convert_with_pauses(chunks: &[&[u8]], options: &Options) -> Vec<u8> {
    let mut converter = converter(options);
    converter.pause_at(1);
    let (mut all, mut out) = (vec![], vec![]);
    for chunk in chunks {
        converter.push(chunk, &mut out, &mut ());
        all.append(&mut out);
        while converter.has_paused() {
            converter.push(&[], &mut out, &mut ());
            all.append(&mut out);
        }
    }
    loop {
        converter.finish(&mut out, &mut ());
        all.append(&mut out);
        if !converter.has_paused() {
            return all;
        }
    }
}

pub fn count_events(input: &[u8], options: &Options) -> usize {
    let mut converter = converter(options);
    let mut events = Events::default();
    converter.push(input, &mut vec![], &mut events);
    converter.finish(&mut vec![], &mut events);
    events.0
}

pub fn converter(options: &Options) -> Converter {
    Converter::new(settings(options)).unwrap_or_else(|_| panic!("refused: {options:?}"))
}

/// Cuts an input at these places; places behind its end count from its start again.
pub fn chunks<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.sort_unstable();
    let mut chunks = vec![];
    let mut start = 0;
    for cut in cuts {
        chunks.push(&input[start..cut]);
        start = cut;
    }
    chunks.push(&input[start..]);
    chunks
}

/// "The output of any input, fed through again, comes out unchanged", and every line of it is one that Telegraf reads;
/// those that are ours, InfluxDB too.
pub fn check_output(output: &[u8], options: &Options) {
    let shown = || format!("{:.1500?}", String::from_utf8_lossy(output));
    let all = lines::split(output).unwrap_or_else(|from| {
        panic!("Telegraf refuses the output from {:.500?}\nof {}", String::from_utf8_lossy(from), shown())
    });
    let ours = lines::write_series(&options.measurement, &Default::default());
    for line in all {
        assert!(line.ends_with(b"\n"), "a line without its end: {}", shown());
        let (parts, _) = lines::parse(line).unwrap();
        let is_ours =
            parts.measurement.strip_prefix(ours.as_bytes()).is_some_and(|rest| rest.is_empty() || rest == b"_rejected");
        // A metric of another program may have our measurement's name and yet pass through as it is; ours have a time.
        if is_ours && parts.time.is_some() {
            // A field that came with a message is kept as it is, even if it is no UTF-8.
            lines::decode(&String::from_utf8_lossy(line));
        }
    }
    let again = convert(output, &Options { input: Format::Influx, ..options.clone() });
    assert!(again == output, "fed through again {:.1500?}\nit was {}", String::from_utf8_lossy(&again), shown());
}

/// "No input at all makes it panic, stall, grow without bound, or emit a line that InfluxDB or Telegraf cannot parse."
pub fn survives(input: &[u8], cuts: &[usize], options: &Options) {
    for format in [Format::Auto, Format::Influx, Format::Json, Format::JsonLines] {
        let options = Options { input: format, ..options.clone() };
        let output = convert(input, &options);
        check_output(&output, &options);
        let chunks = chunks(input, cuts);
        assert_same(&convert_chunks(&chunks, &options), &output, input);
        assert_same(&convert_with_pauses(&chunks, &options), &output, input);
    }
}

/// Compares from the first byte that differs, for the outputs can be long.
pub fn assert_same(cut: &[u8], whole: &[u8], input: &[u8]) {
    let at = cut.iter().zip(whole).take_while(|(a, b)| a == b).count();
    let from = |text: &[u8]| format!("{:.300?}", String::from_utf8_lossy(&text[at.saturating_sub(80)..]));
    let input = String::from_utf8_lossy(input);
    assert!(cut == whole, "cut   ...{}\nwhole ...{}\nfor {input:.1500?}", from(cut), from(whole));
}
