//! The contract, sentence by sentence: what goes in, and the text that comes out.
//!
//! Every case is run whole, cut in two at every byte, and byte by byte; its output is read by the parsers of Telegraf and
//! InfluxDB and fed through again; and the reference, which the property tests rely on, must agree with the text here.
//!
//! Where digits of a time are filled in, they are XXH3-64 of the text that the comment names, computed once with the
//! xxhash-rust crate and pasted.

use std::collections::{BTreeSet, HashSet};

use fixtures::Random;
use fixtures::telegraf::{metric, metric_bytes, quoted, tagged};
use rand::{RngExt, SeedableRng};
use telegraf_algorithmia::Kinds;

use reference::case::{bytes_input, input, message};
use reference::lines::{self, decode};
use reference::product::{check_output, convert, convert_chunks, converter, count_events};
use reference::{Format, NOW, Options};

// ============================================================================================== Which input is what

/// "Line protocol (as Telegraf's execd processor sends it): a metric named `kafka_consumer` whose string field `value`
/// holds the message"
#[test]
fn a_metric_of_a_source_holds_a_message() {
    input(
        "the payload of Algorithmia's documentation",
        r#"kafka_consumer value="{\"risk_score\":0.2,\"duration_milliseconds\":8,\"algorithm_version\":\"1.0.6\",\"session_id\":\"rses-f28bb94a-5556-4aeb-a6d2-89493626bf4f\",\"time\":\"2021-02-20T00:21:54.867231\",\"algorithm_name\":\"credit_card_approval\",\"request_id\":\"req-9f5345b4-a1cd-431c-a43a-bd2a06f4a6f4\",\"algorithm_owner\":\"asli\"}" 1613780515000000000
"#,
    )
    // The last three digits: the request_id's hash.
    .gives(r#"algorithmia,algorithm_name=credit_card_approval,algorithm_owner=asli,algorithm_version=1.0.6 risk_score=0.2,duration_milliseconds=8,session_id="rses-f28bb94a-5556-4aeb-a6d2-89493626bf4f",request_id="req-9f5345b4-a1cd-431c-a43a-bd2a06f4a6f4" 1613780514867231593"#);
    input(
        "indented: the line breaks stay raw inside the quotes",
        "kafka_consumer value=\"{\n  \\\"algorithm_name\\\": \\\"a\\\",\r\n\t\\\"x\\\": 1\n}\" 7\n",
    )
    .gives("algorithmia,algorithm_name=a x=1 7");
    input(
        "both escapes of a string field",
        r#"kafka_consumer value="{\"algorithm_name\":\"a\",\"x\":\"q\\\"q b\\\\b\"}" 7
"#,
    )
    .gives(r#"algorithmia,algorithm_name=a x_text="q\"q b\\b" 7"#);
    input("a line that looks like a metric, inside a message", "kafka_consumer value=\"\ncpu x=1 1\n\" 7\n")
        .gives("algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"cpu x=1 1\" 7");
    message("white space and the NULs that Telegraf trims", "\0 \r\n\t{\"algorithm_name\":\"a\",\"x\":1}\n\0")
        .gives("algorithmia,algorithm_name=a x=1 7");
    message("25 KB in 25 metrics", &wide(25, 1000))
        .gives(&format!("algorithmia,algorithm_name=a {} 7", wide_fields(25, 1000)));
}

/// "(`--source NAME`, repeatable) ... (`--field NAME`)"
#[test]
fn sources_and_the_field_can_be_named() {
    let message = r#""{\"algorithm_name\":\"a\",\"x\":1}" 7"#;
    for source in ["mqtt_consumer", "my source"] {
        let name = source.replace(' ', "\\ ");
        input("another source", &format!("{name} value={message}\n"))
            .with(|o| o.sources = vec!["mqtt_consumer".into(), "my source".into()])
            .gives("algorithmia,algorithm_name=a x=1 7");
    }
    let line = format!("kafka_consumer value={message}");
    input("a source that is not named", &line).with(|o| o.sources = vec!["mqtt_consumer".into()]).gives(&line);
    input("another field", &format!("kafka_consumer text={message}\n"))
        .with(|o| o.field = "text".into())
        .gives("algorithmia,algorithm_name=a x=1 7");
}

/// "other fields beside it are kept, the payload's win"
#[test]
fn other_fields_are_kept() {
    let metric = |fields: &str| format!("kafka_consumer {fields} 7\n");
    let value = r#"value="{\"algorithm_name\":\"a\",\"x\":1}""#;
    input("before and behind, of every type", &metric(&format!(r#"i=5i,b=true,{value},f=1.5,s="a \"b\" \\",u=5u"#)))
        .gives(r#"algorithmia,algorithm_name=a x=1,i=5,b=1,f=1.5,s_text="a \"b\" \\",u=5 7"#);
    input("the payload's wins", &metric(&format!("x=9i,{value},y=2i"))).gives("algorithmia,algorithm_name=a x=1,y=2 7");
    input(
        "reserved keys, and one that is a tag's",
        &metric(&format!("time=1i,_measurement=2i,algorithm_name=3i,{value}")),
    )
    .gives("algorithmia,algorithm_name=a x=1,time_field=1,measurement=2 7");
    input("they are fields enough for a point", &metric(r#"value="{\"algorithm_name\":\"a\"}",offset=12i"#))
        .gives("algorithmia,algorithm_name=a offset=12 7");
    input("their keys can be awkward", &metric(&format!(r"{value},a\ b\,c\=d=1i")))
        .gives(r"algorithmia,algorithm_name=a x=1,a\ b\,c\=d=1 7");
}

/// "Every other metric passes through byte for byte, in order."
#[test]
fn other_metrics_pass_through() {
    let passes = |name: &str, text: &str| input(name, &format!("{text}\n")).gives(text);
    passes("numbers are not rewritten", "cpu x=1.0,y=1e+3,z=.5,w=5.,u=7u 1");
    passes("tags are not sorted, booleans not spelled out", "cpu,b=2,a=1 x=t,y=FALSE 1");
    passes("no time", "cpu x=1");
    passes("escapes and quotes", r#"c\ p\,u,a\ b=c\=d,q=" x="a\"b\\",y\ y=2i -5"#);
    passes("a line break inside a string", "log message=\"first\nsecond # no comment\n\" 1");
    passes("the output's own names", "algorithmia,algorithm_name=a x=1 1");
    passes("blanks of every kind", "cpu \t x=1 \u{b}\u{c} 1\u{b} ");
    passes("a source's name, but no message", "kafka_consumer other=\"text\" 1");
    passes("a source's name, but no text in the field", "kafka_consumer value=5 1");
    passes("a source's name, more or less", "kafka_consumer2 value=\"{}\" 1");
    input(
        "in order, among messages",
        concat!(
            "cpu x=1 1\n",
            "kafka_consumer value=\"{\\\"algorithm_name\\\":\\\"a\\\",\\\"x\\\":1}\" 2\n",
            "mem y=2 3\n",
            "kafka_consumer value=\"{\\\"algorithm_name\\\":\\\"b\\\",\\\"x\\\":2}\" 4\n",
            "internal_write,output=influxdb_v2 buffer_size=0i 5\n",
        ),
    )
    .gives(concat!(
        "cpu x=1 1\n",
        "algorithmia,algorithm_name=a x=1 2\n",
        "mem y=2 3\n",
        "algorithmia,algorithm_name=b x=2 4\n",
        "internal_write,output=influxdb_v2 buffer_size=0i 5",
    ));
    input("the last line may lack its end", "cpu x=1 1\ncpu x=2 2").gives("cpu x=1 1\ncpu x=2 2");
    input("blank lines and comments vanish", "\n# a comment\ncpu x=1 1\n\n  \n# \"another\ncpu x=2 2\n\n")
        .gives("cpu x=1 1\ncpu x=2 2");

    let bytes = b"cpu,host=\xFF\xFE x=\"\xC3\" 1\n";
    assert_eq!(convert(bytes, &Options::default()), bytes, "not UTF-8");
    let long = format!("log message={} 1", quoted(&"text \"\n\\".repeat(100_000)));
    passes("800 KB", &long);
}

/// "Raw JSON, from stdin or files named on the command line: JSON lines, concatenated objects, or an array of objects."
#[test]
fn raw_json() {
    let (one, two) = (r#"{"algorithm_name":"a","x":1,"time":1}"#, r#"{"algorithm_name":"b","x":[2,3],"time":2}"#);
    let out = "algorithmia,algorithm_name=a x=1 1000000000\nalgorithmia,algorithm_name=b x_0=2,x_1=3 2000000000";
    let json = |name: &str, text: String| input(name, &text).with(|o| o.exact_time = true).gives(out);
    json("lines", format!("{one}\n{two}\n"));
    json("lines, the last without its end", format!("{one}\r\n{two}"));
    json("blank lines", format!("\n\n  {one}\n\n\t\n{two}\n\n"));
    json("concatenated", format!("{one}{two}"));
    json("blanks between", format!("{one} \t {two}"));
    json("indented", format!("{one}\n{two}").replace(',', ",\n  ").replace('{', "{\n").replace('}', "\n}"));
    json("an array", format!("[{one},{two}]"));
    json("an array over many lines", format!("[\n  {one}\n ,\n  {two}\n]\n"));
    json("an array, then an object", format!("[{one}]\n{two}"));
    json("arrays on lines", format!("[{one}]\n[{two}]\n"));

    // The payload has no time, and no metric came with it.
    input(
        "the clock gives the time, never the same twice",
        "{\"algorithm_name\":\"a\",\"x\":1}\n{\"algorithm_name\":\"a\",\"x\":2}\n",
    )
    .gives(
        "algorithmia,algorithm_name=a x=1 1600000000123456789\nalgorithmia,algorithm_name=a x=2 1600000000123456790",
    );
    input("nothing", "").gives_nothing();
    input("nothing but blanks", " \n\t\r\n ").gives_nothing();

    for broken in [r#"{"a":1,"#, r#"{"a":{"b":1}"#, r#"{"a":"b"#, "hello", r#"{"a":}"#, r#"{"a":01}"#, "}", "]", "\"a"]
    {
        input("the neighbours of a broken line survive", &format!("{one}\n{broken}\n{two}\n"))
            .with(|o| o.exact_time = true)
            .gives(&out.replace(
                '\n',
                &format!(
                    "\nalgorithmia_rejected,reason=invalid_json error=\"*\",payload={} 1600000000123456789\n",
                    quoted(broken)
                ),
            ));
    }
    input("a line that holds something else", &format!("{one}\n42\n{two}\n")).with(|o| o.exact_time = true).gives(
        &out.replace(
            '\n',
            "\nalgorithmia_rejected,reason=not_an_object error=\"*\",payload=\"42\" 1600000000123456789\n",
        ),
    );
    input("a last line that was cut off", &format!("{one}\n{two}\n{{\"algorithm_name\":\"c\",\"x\""))
        .with(|o| o.exact_time = true)
        .gives(&format!(
            "{out}\nalgorithmia_rejected,reason=invalid_json error=\"*\",payload={} 1600000000123456789",
            quoted(r#"{"algorithm_name":"c","x""#)
        ));
}

/// "An array of objects", longer than any message may be: it is read as a stream.
#[test]
fn a_raw_array_is_read_as_a_stream() {
    let item = r#"{"algorithm_name":"a","x":"some text to make it longer","time":1613780514867231000}"#;
    let count = 20_000;
    let text = format!("[{}]", vec![item; count].join(",\n"));
    assert!(text.len() > 1024 * 1024);
    let mut converter = converter(&Options::default());
    let (mut out, mut longest) = (vec![], 0);
    for chunk in text.as_bytes().chunks(4096) {
        let before = out.len();
        converter.push(chunk, &mut out, &mut ());
        longest = longest.max(out.len() - before);
    }
    converter.finish(&mut out, &mut ());
    let line = "algorithmia,algorithm_name=a x_text=\"some text to make it longer\" 1613780514867231000\n";
    assert_eq!(String::from_utf8(out).unwrap(), line.repeat(count));
    assert!(longest < 16 * 1024, "it waits for the end of the array");
}

/// "A message may itself be an array of payloads: each becomes a point (or a rejection) of its own."
#[test]
fn a_message_may_be_an_array() {
    message("two", r#"[{"algorithm_name":"a","x":1,"time":1},{"algorithm_name":"b","x":2,"time":2}]"#)
        .with(|o| o.exact_time = true)
        .gives("algorithmia,algorithm_name=a x=1 1000000000\nalgorithmia,algorithm_name=b x=2 2000000000");
    message("one", r#"[{"algorithm_name":"a","x":1}]"#).gives("algorithmia,algorithm_name=a x=1 7");
    message("blanks", " [ {\"algorithm_name\":\"a\",\"x\":1} ,\n {\"algorithm_name\":\"a\",\"x\":2} ] ")
        .gives("algorithmia,algorithm_name=a x=1 7\nalgorithmia,algorithm_name=a x=2 8");
    message(
        "without times of their own they do not overwrite each other",
        r#"[{"algorithm_name":"a","x":1},{"algorithm_name":"a","x":2},{"algorithm_name":"a","x":3}]"#,
    )
    .gives(
        "algorithmia,algorithm_name=a x=1 7\nalgorithmia,algorithm_name=a x=2 8\nalgorithmia,algorithm_name=a x=3 9",
    );
    message(
        "a rejection of its own, and the neighbours survive",
        r#"[{"algorithm_name":"a","x":1},{"x":2},{"algorithm_name":"b","x":3}]"#,
    )
    .gives(concat!(
        "algorithmia,algorithm_name=a x=1 7\n",
        "algorithmia_rejected,reason=missing_algorithm_name error=\"*\",payload=\"{\\\"x\\\":2}\" 7\n",
        "algorithmia,algorithm_name=b x=3 9",
    ));
    for (broken, reason) in [
        (r#"{"a":}"#, "invalid_json"),
        (r#"{"a":[1 2]}"#, "invalid_json"),
        ("nul", "invalid_json"),
        ("5", "not_an_object"),
        ("null", "not_an_object"),
        (r#""text, with ] and }""#, "not_an_object"),
        (r#"[{"algorithm_name":"c","x":1}]"#, "not_an_object"),
        ("[]", "not_an_object"),
        (r#"{"algorithm_name":"c"}"#, "no_fields"),
    ] {
        message("a broken element", &format!(r#"[{{"algorithm_name":"a","x":1}},{broken},{{"algorithm_name":"b","x":3}}]"#))
            .gives(&format!(
                "algorithmia,algorithm_name=a x=1 7\nalgorithmia_rejected,reason={reason} error=\"*\",payload={} 7\nalgorithmia,algorithm_name=b x=3 9",
                quoted(broken)
            ));
    }
}

/// "A byte order mark where a text begins is skipped."
#[test]
fn byte_order_marks() {
    const ONE: &str = r#"{"algorithm_name":"a","x":1,"time":1}"#;
    const TWO: &str = r#"{"algorithm_name":"a","x":2,"time":2}"#;
    const POINTS: &str = "algorithmia,algorithm_name=a x=1 1000000000\nalgorithmia,algorithm_name=a x=2 2000000000";
    let message = |text: &str| message("in a message", text).with(|o| o.exact_time = true);
    message(&format!("\u{feff}{ONE}")).gives("algorithmia,algorithm_name=a x=1 1000000000");
    message(&format!(" \0\u{feff}\r\n {ONE}")).gives("algorithmia,algorithm_name=a x=1 1000000000");
    message(&format!("\u{feff}[{ONE},{TWO}]")).gives(POINTS);
    for format in [Format::Auto, Format::Json, Format::JsonLines] {
        for text in [
            format!("\u{feff}{ONE}\n\u{feff}{TWO}\n"),
            format!("\u{feff}\n{ONE}\n\u{feff}\n{TWO}\n\u{feff}"),
            format!("{ONE}\r\n  \u{feff} {TWO}"),
        ] {
            input("at the start of lines", &text).with(|o| (o.exact_time, o.input) = (true, format)).gives(POINTS);
        }
    }
    let pretty = TWO.replace(',', ",\n");
    input("a file behind another", &format!("{ONE}\n\u{feff}{pretty}\n")).with(|o| o.exact_time = true).gives(POINTS);
    input("before metrics", "\u{feff}cpu x=1 1\n").gives("cpu x=1 1");
    bytes_input("half of one", &[ONE.as_bytes(), b"\n\xef\xbb"].concat()).with(|o| o.exact_time = true).gives(concat!(
        "algorithmia,algorithm_name=a x=1 1000000000\n",
        "algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"\u{fffd}\" 1600000000123456789",
    ));
}

/// "Lines, concatenated objects and white space or NULs may also stand within one record; each payload becomes its own point."
#[test]
fn a_message_may_hold_several_values() {
    let (one, two, three) = (
        r#"{"algorithm_name":"a","x":1}"#,
        r#"{"algorithm_name":"a","x":"}\"{"}"#,
        r#"{"algorithm_name":"a","x":{"y":3}}"#,
    );
    let points = "algorithmia,algorithm_name=a x=1 7\nalgorithmia,algorithm_name=a x_text=\"}\\\"{\" 8\n\
                  algorithmia,algorithm_name=a x_y=3 9";
    for text in [
        format!("{one}\n{two}\n{three}\n"),
        format!("{one}{two}{three}"),
        format!("{one}\r\n\0{two}\0\0 \n{three}\0\n"),
        format!("[{one},{two}]\n{three}"),
        format!("[{one},{two}]\0[{three}]"),
        format!("{one}[{two},\n{three}]"),
        format!("[{one}] {two}\u{feff}{three}"),
        format!("{}\n{}\n{}", one.replace(',', ",\n"), two.replace(':', ":\n\t"), three.replace('{', "{\n")),
    ] {
        message("several", &text).gives(points);
    }
    for (broken, reason) in [
        (r#"{"a":}"#, "invalid_json"),
        ("{'a':1}", "invalid_json"),
        ("[]", "not_an_object"),
        (r#"{"x":1}"#, "missing_algorithm_name"),
        (r#"{"algorithm_name":"c"}"#, "no_fields"),
        (r#"{"algorithm_name":"c","x":[[[[1]]]]}"#, "too_large"),
    ] {
        for text in [format!("{one}\n{broken}\n{three}"), format!("{one}{broken}{three}")] {
            message("one that is rejected", &text).with(|o| o.nesting = 4).gives(&format!(
                "algorithmia,algorithm_name=a x=1 7\nalgorithmia_rejected,reason={reason} error=\"*\",payload={} 7\nalgorithmia,algorithm_name=a x_y=3 9",
                quoted(broken)
            ));
        }
    }
    message("the first is rejected", &format!("{{\"x\":1}}\n{one}")).gives(
        "algorithmia_rejected,reason=missing_algorithm_name error=\"*\",payload=\"{\\\"x\\\":1}\" 7\nalgorithmia,algorithm_name=a x=1 8",
    );
    message("what is behind them is no value", &format!("{one}{one}\nword")).gives(
        "algorithmia,algorithm_name=a x=1 7\nalgorithmia,algorithm_name=a x=1 8\nalgorithmia_rejected,reason=invalid_json error=\"*\",payload=\"word\" 7",
    );
    // One that is broken is one rejection, whatever lines there are in it.
    for broken in
        [format!("{{\"x\":[\n{one},\n{one}\n"), format!("{{\"x\":\n{one}\n{one}"), format!("{one} word {one}")]
    {
        message("one that is broken", broken.trim_end()).gives(&format!(
            "algorithmia_rejected,reason=invalid_json error=\"*\",payload={} 7",
            quoted(broken.trim_end())
        ));
    }
    input("a line", &format!("{one}{two}\n[{one}]{three}\n")).with(|o| o.input = Format::JsonLines).gives(&format!(
        "algorithmia,algorithm_name=a x=1 {NOW}\nalgorithmia,algorithm_name=a x_text=\"}}\\\"{{\" {}\nalgorithmia,algorithm_name=a x=1 {}\nalgorithmia,algorithm_name=a x_y=3 {}",
        NOW + 1, NOW + 2, NOW + 3
    ));
}

/// "A few bytes in front of an otherwise complete object (a schema registry's prefix, with or without its NULs) are skipped."
#[test]
fn bytes_in_front_of_an_object_are_skipped() {
    let object = r#"{"algorithm_name":"a","x":1,"time":"2021-02-20T00:21:54.867231"}"#;
    // XXH3-64 of the object alone.
    let point = String::from_utf8(convert(object.as_bytes(), &Options::default())).unwrap();
    let in_front: [&[u8]; 27] = [
        b"\0\0\0\0\x01",
        b"\x01",
        b"\x01\0",
        b"\x01\0\0",
        b"\x0a\x0b",
        b"\x01\x0a",
        b"\x0a",
        b"{",
        b"[",
        b"\0\0\0\0{",
        b"{{",
        b"[{",
        b"{\"",
        b"\"",
        b"\\",
        b"\x7f",
        b"\x89",
        b"\xff\xfe\xfd",
        b"\0\0\0\0\xc3",
        b"\xef\xbb",
        b"\0\0\0\0\x01\x00",
        b"INFO ",
        b"data: ",
        b"\x1e",
        b")]}',\n",
        b"\0\0\0\x01\xef\xbb\xbf",
        b"0123456789abcdef",
    ];
    for bytes in in_front {
        let text = [bytes, object.as_bytes()].concat();
        bytes_input("in a message", &metric_bytes(&text, 7)).gives(point.trim_end());
        if !bytes.contains(&b'\n') {
            bytes_input("in a line", &text).with(|o| o.input = Format::JsonLines).gives(point.trim_end());
        }
    }
    // A rejection says what is wrong with the object.
    message("no name", "\u{1}{\"x\":1}")
        .gives("algorithmia_rejected,reason=missing_algorithm_name error=\"*\",payload=\"{\\\"x\\\":1}\" 7");
    for text in [
        format!("0123456789abcdefg{object}"),
        format!("\u{1}{object}x"),
        format!("\u{1}{object}{object}"),
        "\u{1}{\"algorithm_name\":\"a\",\"x\":}".to_owned(),
        // Broken JSON is not a prefix.
        format!("{{\"a\":{object}"),
        format!("{{\"\":{object}"),
        format!("{{\"a\" {object}"),
    ] {
        message("nothing is skipped", &text)
            .gives(&format!("algorithmia_rejected,reason=invalid_json error=\"*\",payload={} 7", quoted(&text)));
    }
    let text = format!("\u{1}{object}\n");
    input("in a stream, where no message ends", &text).with(|o| o.input = Format::Json).gives(&format!(
        "algorithmia_rejected,reason=invalid_json error=\"*\",payload={} {NOW}",
        quoted(text.trim_end_matches('\n'))
    ));
}

/// "JSON within a JSON string is read."
#[test]
fn json_in_a_string_is_read() {
    let one = r#"{"algorithm_name":"a\n\u00e9","x":1,"time":"2021-02-20T00:21:54.867231"}"#;
    let point = String::from_utf8(convert(one.as_bytes(), &Options::default())).unwrap();
    let string = |text: &str| serde_json::Value::from(text).to_string();
    for text in [
        string(one),
        string(&string(one)),
        format!(" {} \n", string(&format!("\n {one}\n"))),
        format!("\u{feff}{}", string(&format!("\u{feff}{one}"))),
        string(one).replace('{', "\\u007b").replace('a', "\\u0061"),
        string(&format!("[{one}]")),
        string(&format!("\u{feff}[{one}]")),
    ] {
        message("in a message", &text).gives(point.trim_end());
        if !text.trim_end().contains('\n') {
            for format in [Format::Json, Format::JsonLines] {
                input("in a stream", &format!("{text}\n")).with(|o| o.input = format).gives(point.trim_end());
            }
        }
    }
    message("several", &string(&format!("{one}\n{one}"))).gives(&format!("{point}{}", point.trim_end()));
    message("one that is rejected", &string("{\"x\":1}"))
        .gives("algorithmia_rejected,reason=missing_algorithm_name error=\"*\",payload=\"{\\\"x\\\":1}\" 7");
    for text in [string(&string(&string(one))), string("text"), string("5"), format!("[{}]", string(one))] {
        let payload = text.trim_matches(['[', ']']);
        message("other strings", &text)
            .gives(&format!("algorithmia_rejected,reason=not_an_object error=\"*\",payload={} 7", quoted(payload)));
    }
}

/// What is sent in the place of JSON is told by its first bytes.
#[test]
fn what_is_no_json_is_called_by_its_name() {
    let utf16 = |text: &str, to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
    let object = "{\"algorithm_name\":\"a\",\"x\":1}";
    let (marked, lines) = (format!("\u{feff}{object}"), format!("{object}\n{object}"));
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabVJ\xcc".to_vec();
    for (bytes, says, count) in [
        (utf16(object, u16::to_le_bytes), "iconv -f UTF-16 -t UTF-8", 1),
        (utf16(object, u16::to_be_bytes), "iconv -f UTF-16 -t UTF-8", 1),
        (utf16(&marked, u16::to_le_bytes), "iconv -f UTF-16 -t UTF-8", 1),
        (utf16(&marked, u16::to_be_bytes), "iconv -f UTF-16 -t UTF-8", 1),
        (utf16(&lines, u16::to_le_bytes), "iconv -f UTF-16 -t UTF-8", 2),
        (utf16(&lines, u16::to_be_bytes), "iconv -f UTF-16 -t UTF-8", 2),
        (gzip, "compressed with gzip", 1),
        (b"\x28\xb5\x2f\xfd\x04\x58\x29\0\0{\"a\"".to_vec(), "compressed with zstd", 1),
        (b"\0\0\0\0\x01\x02a\x06\x10".to_vec(), "begins with the bytes 01 02 61 06 10, as Avro and Protobuf", 1),
    ] {
        let mut inputs = vec![(bytes.clone(), Format::JsonLines)];
        if count == 1 {
            inputs.push((metric_bytes(&bytes, 7), Format::Influx));
        }
        if says.starts_with("iconv") {
            inputs.extend([(bytes.clone(), Format::Auto), (bytes, Format::Json)]);
        }
        for (input, format) in inputs {
            let out = convert(&input, &Options { input: format, ..Options::default() });
            let out = String::from_utf8(out).expect("UTF-8");
            assert_eq!(out.lines().count(), count, "{format:?}: {out}");
            for line in out.lines() {
                assert!(
                    line.starts_with("algorithmia_rejected,reason=invalid_json error=") && line.contains(says),
                    "{out}"
                );
            }
        }
    }
}

/// "`--input auto|influx|json`; auto decides by the first non-blank byte of each input."
#[test]
fn the_input_decides() {
    let point = "algorithmia,algorithm_name=a x=1 1600000000123456789";
    let json = r#"{"algorithm_name":"a","x":1}"#;
    for blank in ["", " ", "\n\n", "\t \r\n"] {
        input("auto: an object", &format!("{blank}{json}")).gives(point);
        input("auto: an array", &format!("{blank}[{json}]")).gives(point);
    }
    input("auto: a metric", "cpu x=1 1\n").gives("cpu x=1 1");
    input("auto: a metric behind blank lines", "\n\t \r\n\ncpu x=1 1\n").gives("cpu x=1 1");
    input("auto: a metric behind blanks", " \tcpu x=1 1\n").gives(" \tcpu x=1 1");
    input("json", json).with(|o| o.input = Format::Json).gives(point);
    input("json that is line protocol", "cpu x=1 1\n")
        .with(|o| o.input = Format::Json)
        .gives("algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"cpu x=1 1\" 1600000000123456789");
    input("influx", "cpu x=1 1\n").with(|o| o.input = Format::Influx).gives("cpu x=1 1");
    input("influx that is JSON", json).with(|o| o.input = Format::Influx).gives(&format!(
        "algorithmia_rejected,reason=invalid_metric error=\"*\",payload={} 1600000000123456789",
        quoted(json)
    ));

    let mut converter = converter(&Options::default());
    let mut out = vec![];
    for each in ["cpu x=1 1\n", r#"{"algorithm_name":"a","x":1,"time":1613780514867231000}"#, "cpu x=2 2\n"] {
        converter.push(each.as_bytes(), &mut out, &mut ());
        converter.finish(&mut out, &mut ());
    }
    let expected = "cpu x=1 1\nalgorithmia,algorithm_name=a x=1 1613780514867231000\ncpu x=2 2\n";
    assert_eq!(String::from_utf8_lossy(&out), expected, "each input");
}

/// "auto decides anew at each value or line: what begins with `{` or `[` is JSON, what reads as a metric is one, anything else costs
/// itself alone."
#[test]
fn auto_decides_anew_at_each_line() {
    let json = |number: usize| format!("{{\"algorithm_name\":\"a\",\"x\":{number},\"time\":{number}}}");
    let point = |number: usize| format!("algorithmia,algorithm_name=a x={number} {number}000000000\n");
    let rejected = |reason: &str, text: &str| {
        format!("algorithmia_rejected,reason={reason} error=\"*\",payload={} {NOW}\n", quoted(text))
    };
    let (one, two) = (json(1), json(2));
    let (first, second) = (point(1), point(2));
    let source = metric(&one.replace(',', ",\n"), 7);
    for (input, output) in [
        (format!("hello\n{one}\n{two}\n"), format!("{}{first}{second}", rejected("invalid_metric", "hello"))),
        (format!("cpu x=1 1\n{one}\ncpu x=2 2\n"), format!("cpu x=1 1\n{first}cpu x=2 2\n")),
        (format!("{one}\ncpu x=1 1\n[{two}]\n"), format!("{first}cpu x=1 1\n{second}")),
        (format!("{source}{two}\n{source}"), format!("{first}{second}{first}")),
        (format!("{one}\n{source}  {two}\n"), format!("{first}{first}{second}")),
        (format!("{one}\ncpu x=\"a\n{{\n\",y=1 1\r\n{two}"), format!("{first}cpu x=\"a\n{{\n\",y=1 1\r\n{second}")),
        (
            format!("{one}\ncpu x=1 1\nhello\n{two}"),
            format!("{first}cpu x=1 1\n{}{second}", rejected("invalid_metric", "hello")),
        ),
        (
            format!("cpu x=1 1\n{one}\nhello\n{two}"),
            format!("cpu x=1 1\n{first}{}{second}", rejected("invalid_json", "hello")),
        ),
        (format!("{one} cpu x=1 1\n{two}cpu x=2 2"), format!("{first}cpu x=1 1\n{second}cpu x=2 2\n")),
        (
            format!("{one}\nerror text=\"a\n{two}"),
            format!("{first}{}", rejected("invalid_metric", &format!("error text=\"a\n{two}"))),
        ),
        (
            format!("{one}\nan error text=\"a\n{two}"),
            format!("{first}{}{second}", rejected("invalid_json", "an error text=\"a")),
        ),
        (format!("{{x y=1\n{one}\n"), format!("{}{first}", rejected("invalid_json", "{x y=1"))),
        ("cpu x=1 1\n{\"a\":\n".to_owned(), format!("cpu x=1 1\n{}", rejected("invalid_json", "{\"a\":"))),
    ] {
        bytes_input(&input, input.as_bytes()).with(|o| o.exact_time = true).gives(output.trim_end());
    }
    // What is known is not guessed.
    input("influx", "cpu x=1 1\n{x y=1 1\n").with(|o| o.input = Format::Influx).gives("cpu x=1 1\n{x y=1 1");
    input("a file that is told", &format!("{one}\ncpu x=1 1\n"))
        .with(|o| (o.input, o.exact_time) = (Format::Json, true))
        .gives(format!("{first}{}", rejected("invalid_json", "cpu x=1 1")).trim_end());
}

/// What is read in turns is looked through once, and not at each turn.
#[test]
fn turns_cost_no_more_than_lines() {
    let seconds = |text: String| {
        let start = std::time::Instant::now();
        convert(text.as_bytes(), &Options::default());
        start.elapsed().as_secs_f64()
    };
    for line in ["[]\nx y=1\n", "{\"a\"\nx y=1\n"] {
        let (few, many) = (seconds(line.repeat(20_000)), seconds(line.repeat(160_000)));
        assert!(many < 40.0 * few, "{line}: {few} s, and {many} s for eight times as many");
    }
}

// ======================================================================================================== The point

/// "Measurement `algorithmia` (`--measurement NAME`)."
#[test]
fn the_measurement_can_be_named() {
    let payload = r#"{"algorithm_name":"a","x":1}"#;
    message("a name", payload).with(|o| o.measurement = "insights".into()).gives("insights,algorithm_name=a x=1 7");
    message("a name that needs escapes", payload)
        .with(|o| o.measurement = "my own,name".into())
        .gives(r"my\ own\,name,algorithm_name=a x=1 7");
    message("the rejections' too", "hello")
        .with(|o| o.measurement = "my own,name".into())
        .gives(r#"my\ own\,name_rejected,reason=invalid_json error="*",payload="hello" 7"#);
}

/// "Tags: algorithm_name, algorithm_owner, algorithm_version, plus the tags the metric came with (host, topic, ...),
/// sorted by key. A payload's tag wins over an incoming tag. Empty and null values make no tag. Scalars become text."
#[test]
fn tags() {
    let metric = |tags: &str, payload: &str| format!("kafka_consumer{tags} value={} 7\n", quoted(payload));
    message("the three", r#"{"algorithm_version":"1.0.6","algorithm_owner":"o","x":1,"algorithm_name":"a"}"#)
        .gives("algorithmia,algorithm_name=a,algorithm_owner=o,algorithm_version=1.0.6 x=1 7");
    input("incoming ones, sorted", &metric(",topic=t,host=h,a=1,b=2", r#"{"algorithm_name":"a","x":1}"#))
        .gives("algorithmia,a=1,algorithm_name=a,b=2,host=h,topic=t x=1 7");
    input("sorted by the bytes of the key", &metric(",b=1,é=2,B=3,a_=4,a=5", r#"{"algorithm_name":"a","x":1}"#))
        .gives("algorithmia,B=3,a=5,a_=4,algorithm_name=a,b=1,é=2 x=1 7");
    input(
        "the payload's wins",
        &metric(
            ",algorithm_name=i,algorithm_owner=i,algorithm_version=i",
            r#"{"algorithm_name":"a","algorithm_owner":"o","x":1}"#,
        ),
    )
    .gives("algorithmia,algorithm_name=a,algorithm_owner=o,algorithm_version=i x=1 7");
    input(
        "an empty one does not",
        &metric(
            ",algorithm_owner=i,algorithm_version=i",
            r#"{"algorithm_name":"a","algorithm_owner":"","algorithm_version":null,"x":1}"#,
        ),
    )
    .gives("algorithmia,algorithm_name=a,algorithm_owner=i,algorithm_version=i x=1 7");
    message("empty and null", r#"{"algorithm_name":"a","algorithm_owner":"","algorithm_version":null,"x":1}"#)
        .gives("algorithmia,algorithm_name=a x=1 7");
    message("scalars become text", r#"{"algorithm_name":5,"algorithm_owner":true,"algorithm_version":1.10,"x":1}"#)
        .gives("algorithmia,algorithm_name=5,algorithm_owner=true,algorithm_version=1.10 x=1 7");
    message("no number, no tag", r#"{"algorithm_name":"a","algorithm_owner":NaN,"x":1}"#)
        .gives("algorithmia,algorithm_name=a x=1 7");
    message("nested keys make tags as well", r#"{"algorithm":{"name":"a","owner":"o"},"x":1}"#)
        .gives("algorithmia,algorithm_name=a,algorithm_owner=o x=1 7");
    input("reserved keys", &metric(",_field=f,_measurement=m,time=t", r#"{"algorithm_name":"a","x":1}"#))
        .gives("algorithmia,algorithm_name=a,field=f,measurement=m,time_tag=t x=1 7");
}

/// "algorithm_name is required."
#[test]
fn algorithm_name_is_required() {
    for payload in [
        r#"{"x":1}"#,
        r#"{"algorithm_name":"","x":1}"#,
        r#"{"algorithm_name":null,"x":1}"#,
        r#"{"algorithm_name":NaN,"x":1}"#,
        r#"{"algorithm_name":{},"x":1}"#,
        r#"{"algorithm_name":["a"],"x":1}"#,
        r#"{"algorithm_name":"a","algorithm_name":null,"x":1}"#,
        r#"{"Algorithm_Name":"a","x":1}"#,
        // Of a tag nothing but a backslash cannot be written.
        r#"{"algorithm_name":"\\","x":1}"#,
        "{}",
    ] {
        message("without one", payload).gives(&format!(
            "algorithmia_rejected,reason=missing_algorithm_name error=\"*\",payload={} 7",
            quoted(payload)
        ));
    }
}

/// "Fields: every other key. Numbers are floats, always (so `1` and `1.5` never conflict)."
#[test]
fn numbers_are_floats() {
    field("an integer", "1").gives("1");
    field("a fraction", "1.5").gives("1.5");
    field("whole, but spelled as a fraction", "1.0").gives("1");
    field("an exponent", "1E+2").gives("100");
    field("larger than an integer can be", "9223372036854775808").gives("9.223372036854776e18");
    field("more digits than a float has", "0.1000000000000000055511151231257827").gives("0.1");
    field("too small", "1e-400").gives("0");
    message("every other key", r#"{"cats_in_image":1,"algorithm_name":"a","n features":2,"é":3}"#)
        .gives(r"algorithmia,algorithm_name=a cats_in_image=1,n\ features=2,é=3 7");
}

/// "Booleans are 1 and 0 (so a mean is a rate)."
#[test]
fn booleans_are_one_and_zero() {
    field("true", "true").gives("1");
    field("false", "false").gives("0");
}

/// "A string that is entirely a JSON number of which a float keeps every significant digit is a number. Every other string is text
/// under KEY`_text`. session_id and request_id are always text, under their own names."
#[test]
fn strings() {
    field("a number", r#""0.20""#).gives("0.2");
    field("an exponent", r#""-1e3""#).gives("-1000");
    field("a number in escapes", r#""\u0031\u0032""#).gives("12");
    // What a float keeps, however it is spelled, and what it does not.
    for (text, float) in [
        ("9007199254740992", "9007199254740992"),
        ("0.10", "0.1"),
        ("1200000000000000000000000", "1.2e24"),
        ("0.000001234567890123456", "1.234567890123456e-6"),
        ("12345678901234567", ""),
        ("9007199254740993", ""),
        ("4111111111111111111", ""),
        ("0.1000000000000000055511151231257827", ""),
        ("1e400", ""),
        ("-1e400", ""),
        ("1e-400", ""),
    ] {
        let text = format!("\"{text}\"");
        field("a number as text", &text).gives(if float.is_empty() { &text } else { float });
    }
    for text in
        ["1 ", " 1", "+1", "01", ".5", "1.", "1e", "0x1", "1_000", "1,5", "NaN1", "Infinit", "true", "", "-", "１"]
    {
        field("not entirely", &format!("{text:?}")).gives(&format!("{text:?}"));
    }
    message("session_id and request_id", r#"{"algorithm_name":"a","session_id":"12","request_id":"1e3"}"#)
        .gives(r#"algorithmia,algorithm_name=a session_id="12",request_id="1e3" 7"#);
    message("whatever they are", r#"{"algorithm_name":"a","session_id":1.10,"request_id":true}"#)
        .gives(r#"algorithmia,algorithm_name=a session_id="1.10",request_id="true" 7"#);
    field("escapes", r#""\" \\ \/ \b \f \n \r \t \u00e9 \ud83d\ude00""#)
        .gives("\"\\\" \\\\ / \u{8} \u{c} \n \r \t é 😀\"");
    field("half a surrogate pair", r#""a\ud800b\udc00\ud83dc\ud800\ud83d\ude00""#)
        .gives("\"a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}😀\"");
    field("NUL", r#""a\u0000b""#).gives("\"a\0b\"");
}

/// "null makes no field."
#[test]
fn null_makes_no_field() {
    message("null", r#"{"algorithm_name":"a","x":null,"y":1,"session_id":null}"#)
        .gives("algorithmia,algorithm_name=a y=1 7");
}

/// "NaN and infinities in their usual spellings, bare or quoted, and numbers out of range make no field and do not cost the rest of
/// the point."
#[test]
fn nan_makes_no_field() {
    let signs_and_words = ["", "-", "+"].map(|sign| {
        ["NaN", "nan", "NAN", "Infinity", "infinity", "INFINITY", "Inf", "inf", "INF"]
            .map(|word| format!("{sign}{word}"))
    });
    for token in signs_and_words.as_flattened() {
        for value in [token.clone(), format!("\"{token}\""), format!("[{token}]"), format!("{{\"y\":\"{token}\"}}")] {
            message("a spelling", &format!(r#"{{"x":{value},"algorithm_name":"a","z":1}}"#))
                .gives("algorithmia,algorithm_name=a z=1 7");
        }
        let line = format!("kafka_consumer f=\"{token}\",value={} 7\n", quoted(r#"{"algorithm_name":"a","z":1}"#));
        input("beside the message", &line).gives("algorithmia,algorithm_name=a z=1 7");
    }
    for token in ["1e400", "-1e400", "[NaN,Infinity]", "{\"y\":-Infinity}", "\"\\u004eaN\""] {
        message("another", &format!(r#"{{"x":{token},"algorithm_name":"a","z":1}}"#))
            .gives("algorithmia,algorithm_name=a z=1 7");
    }
    message("in strings they are text", r#"{"algorithm_name":"a","x":"NaN,-Infinity","y":" NaN","NaN":1}"#)
        .gives(r#"algorithmia,algorithm_name=a x_text="NaN,-Infinity",y_text=" NaN",NaN=1 7"#);
    for broken in ["NaNs", "NaN1", "Infinit", "- Infinity", "--Infinity", "+", "+1", "-Infinity.0", "nan nan"] {
        let payload = format!(r#"{{"algorithm_name":"a","x":{broken}}}"#);
        message("no number at all", &payload)
            .gives(&format!("algorithmia_rejected,reason=invalid_json error=\"*\",payload={} 7", quoted(&payload)));
    }

    let options = Options::default();
    let events = |value: &str| {
        count_events(metric(&format!(r#"{{"algorithm_name":"a","x":{value},"z":1}}"#), 7).as_bytes(), &options)
    };
    for token in ["NaN", "nan", "\"nan\"", "\"-Infinity\""] {
        assert!(events(token) > events("null"), "{token}: not counted");
    }
}

/// "`--as KEY=float|integer|boolean|string|tag|drop` (repeatable; KEY may end in `*`) fixes a key's kind. A value that
/// cannot become that kind leaves out the field, is counted, and is logged."
#[test]
fn kinds() {
    /// What each value becomes; "" is left out.
    fn table(kind: &str, rows: &[(&str, &str)]) {
        for (value, expected) in rows {
            let name = format!("{value} as {kind}");
            let field = if expected.is_empty() { String::new() } else { format!("x={expected},") };
            message(&name, &format!(r#"{{"algorithm_name":"a","x":{value},"y":1}}"#))
                .with(|o| o.kinds = vec![format!("x={kind}")])
                .gives(&format!("algorithmia,algorithm_name=a {field}y=1 7"));
            // Null is no value, so it cannot be left out.
            if *value != "null" && expected.is_empty() {
                let events = |value: &str| {
                    let options = Options { kinds: vec![format!("x={kind}")], ..Options::default() };
                    count_events(
                        metric(&format!(r#"{{"algorithm_name":"a","x":{value},"y":1}}"#), 7).as_bytes(),
                        &options,
                    )
                };
                assert!(events(value) > events("null"), "{name}: not counted");
            }
        }
    }
    table(
        "float",
        &[
            ("1", "1"),
            ("1.5", "1.5"),
            ("true", "1"),
            ("false", "0"),
            ("\"2\"", "2"),
            ("\"text\"", ""),
            ("\"\"", ""),
            ("\"true\"", "1"),
            ("\" Off\\t\"", "0"),
            ("\"truely\"", ""),
            ("\" 1\"", ""),
            ("\"9007199254740993\"", "9007199254740992"),
            ("\"1e400\"", ""),
            ("NaN", ""),
            ("\"NaN\"", ""),
            ("1e400", ""),
            ("null", ""),
        ],
    );
    table(
        "integer",
        &[
            ("1", "1i"),
            ("-7", "-7i"),
            ("5.0", "5i"),
            ("1e3", "1000i"),
            ("10e-1", "1i"),
            ("-0", "0i"),
            ("0e999999999999", "0i"),
            ("9223372036854775807", "9223372036854775807i"),
            ("-9223372036854775808", "-9223372036854775808i"),
            ("9223372036854775808", ""),
            ("9007199254740993.0", "9007199254740993i"),
            ("1.5", ""),
            ("1e-1", ""),
            ("1e400", ""),
            ("1e999999999999999999999", ""),
            ("true", "1i"),
            ("false", "0i"),
            ("\"12\"", "12i"),
            ("\"1.5\"", ""),
            ("\"text\"", ""),
            ("\"\"", ""),
            ("\"Yes\"", "1i"),
            ("\"\\nn \"", "0i"),
            ("\"yes no\"", ""),
            ("Infinity", ""),
            ("\"inf\"", ""),
            ("null", ""),
        ],
    );
    table(
        "boolean",
        &[
            ("true", "true"),
            ("false", "false"),
            ("1", "true"),
            ("0", "false"),
            ("1.0", "true"),
            ("0e5", "false"),
            ("10e-1", "true"),
            ("2", ""),
            ("0.5", ""),
            ("-1", ""),
            ("\"true\"", "true"),
            ("\"FALSE\"", "false"),
            ("\"True\"", "true"),
            ("\"1\"", "true"),
            ("\"0\"", "false"),
            ("\"yes\"", "true"),
            ("\"t\"", "true"),
            ("\"maybe\"", ""),
            ("\"yess\"", ""),
            ("\" 1\"", ""),
            ("\"\"", ""),
            ("NaN", ""),
            ("\"nan\"", ""),
            ("null", ""),
        ],
    );
    for (words, value) in [(["true", "t", "yes", "y", "on"], 1), (["false", "f", "no", "n", "off"], 0)] {
        let spellings =
            |word: &str| [word.into(), word.to_uppercase(), format!("{}{}", word[..1].to_uppercase(), &word[1..])];
        for word in words.iter().flat_map(|word| spellings(word)) {
            for text in [format!("\"{word}\""), format!("\" {word}\\r\\n\"")] {
                table("boolean", &[(&text, if value == 1 { "true" } else { "false" })]);
                table("integer", &[(&text, &format!("{value}i"))]);
                table("float", &[(&text, &format!("{value}"))]);
            }
        }
    }
    table(
        "string",
        &[
            ("\"text\"", "\"text\""),
            ("\"12\"", "\"12\""),
            ("\"\"", "\"\""),
            ("1.10", "\"1.10\""),
            ("1E5", "\"1E5\""),
            ("true", "\"true\""),
            ("false", "\"false\""),
            ("1e400", "\"1e400\""),
            ("NaN", ""),
            ("\"NaN\"", "\"NaN\""),
            ("null", ""),
        ],
    );
    table("drop", &[("null", "")]);

    let payload = r#"{"algorithm_name":"a","x":VALUE,"y":1}"#;
    for (value, tag) in [
        ("\"text\"", ",x=text"),
        ("1.10", ",x=1.10"),
        ("true", ",x=true"),
        ("\"a b\"", ",x=a\\ b"),
        ("\"\"", ""),
        ("null", ""),
        ("NaN", ""),
    ] {
        message("as tag", &payload.replace("VALUE", value))
            .with(|o| o.kinds = vec!["x=tag".into()])
            .gives(&format!("algorithmia,algorithm_name=a{tag} y=1 7"));
    }
    for value in ["1", "\"text\"", "null", "NaN", "[1,[2]]", "{\"a\":{\"b\":1}}"] {
        message("as drop", &payload.replace("VALUE", value))
            .with(|o| o.kinds = vec!["x=drop".into()])
            .gives("algorithmia,algorithm_name=a y=1 7");
        let options = Options { kinds: vec!["x=drop".into()], ..Options::default() };
        let events = |value| count_events(metric(&payload.replace("VALUE", value), 7).as_bytes(), &options);
        assert_eq!(events(value), events("null"), "what was dropped on purpose is not counted");
    }

    let wild = |name: &str, kinds: &[&str], expected: &str| {
        message(name, r#"{"algorithm_name":"a","score":1,"score_a":2,"scores":[3,4],"other":5}"#)
            .with(|o| o.kinds = kinds.iter().map(|k| k.to_string()).collect())
            .gives(&format!("algorithmia,algorithm_name=a {expected} 7"));
    };
    wild("KEY*", &["score_*=integer"], "score=1,score_a=2i,scores_0=3,scores_1=4,other=5");
    wild("of flattened keys", &["scores_*=integer"], "score=1,score_a=2,scores_0=3i,scores_1=4i,other=5");
    wild("KEY* holds KEY", &["score*=integer"], "score=1i,score_a=2i,scores_0=3i,scores_1=4i,other=5");
    wild(
        "the last that matches wins",
        &["score*=integer", "score_a=string"],
        "score=1i,score_a=\"2\",scores_0=3i,scores_1=4i,other=5",
    );
    wild(
        "whatever is more exact",
        &["score_a=string", "score*=integer"],
        "score=1i,score_a=2i,scores_0=3i,scores_1=4i,other=5",
    );
    wild("without `*` only KEY", &["score=drop"], "score_a=2,scores_0=3,scores_1=4,other=5");
    wild("drop below a key", &["scores_*=drop"], "score=1,score_a=2,other=5");

    message(
        "the known keys too",
        r#"{"algorithm_name":"a","algorithm_version":2,"session_id":"5","request_id":"r","time":1}"#,
    )
    .with(|o| {
        o.kinds = ["algorithm_version=float", "session_id=float", "request_id=drop", "algorithm_name=tag"]
            .map(String::from)
            .to_vec();
    })
    // XXH3-64 of `r`: the request_id is known though it is dropped.
    .gives("algorithmia,algorithm_name=a algorithm_version=2,session_id=5 1000238709");
    message("the key as it is stored", r#"{"algorithm_name":"a","__x":1}"#)
        .with(|o| o.kinds = vec!["x=integer".into()])
        .gives("algorithmia,algorithm_name=a x=1i 7");

    for wrong in ["x", "x=", "x=number", "x=Float", "=float", "", "algorithm_name=string", "algorithm_name=drop"] {
        assert!(Kinds::default().add(wrong).is_err(), "--as {wrong:?}");
    }
}

/// "Nested objects flatten with `_`; array items get their index (`scores_0`)."
#[test]
fn nested_values_flatten() {
    message(
        "objects and arrays",
        r#"{"algorithm_name":"a","scores":[0.5,true,"t",null,"7"],"m":{"b":[1,{"c":2}],"d":{"e":{"f":3}}}}"#,
    )
    .gives(
        r#"algorithmia,algorithm_name=a scores_0=0.5,scores_1=1,scores_2_text="t",scores_4=7,m_b_0=1,m_b_1_c=2,m_d_e_f=3 7"#,
    );
    message("empty ones", r#"{"algorithm_name":"a","x":{},"y":[],"z":[[],{}],"w":1}"#)
        .gives("algorithmia,algorithm_name=a w=1 7");
    message(
        "the known keys, nested, are keys like others",
        r#"{"algorithm_name":"a","m":{"time":1,"session_id":"5","algorithm_name":"b"}}"#,
    )
    .gives(r#"algorithmia,algorithm_name=a m_time=1,m_session_id=5,m_algorithm_name_text="b" 7"#);
    message("empty names", r#"{"algorithm_name":"a","m":{"":1},"":{"n":2}}"#)
        .gives("algorithmia,algorithm_name=a m_=1,n=2 7");
}

/// "A repeated key: the last one wins."
#[test]
fn the_last_of_a_repeated_key_wins() {
    message("in its own place", r#"{"x":1,"algorithm_name":"a","y":2,"x":3}"#)
        .gives("algorithmia,algorithm_name=a y=2,x=3 7");
    message("whatever it is", r#"{"x":1,"algorithm_name":"a","y":2,"x":null}"#)
        .gives("algorithmia,algorithm_name=a y=2 7");
    message("NaN too", r#"{"x":1,"algorithm_name":"a","y":2,"x":NaN}"#).gives("algorithmia,algorithm_name=a y=2 7");
    message("another type", r#"{"x":1,"algorithm_name":"a","x":"t"}"#)
        .gives("algorithmia,algorithm_name=a x_text=\"t\" 7");
    message("a type for which a rule leaves no key", r#"{"algorithm_name":"a","x":1,"b":1,"b":"t"}"#)
        .with(|o| o.kinds = vec!["b_*=integer".into()])
        .gives("algorithmia,algorithm_name=a x=1 7");
    message("null where a rule leaves no key to numbers", r#"{"algorithm_name":"a","x":1,"b_text":"t","b_text":null}"#)
        .with(|o| o.kinds = vec!["b_text_n*=string".into()])
        .gives("algorithmia,algorithm_name=a x=1 7");
    input("a metric's own too", r#"kafka_consumer a=1i,_a="t",b=1i,_b="t",value="{\"algorithm_name\":\"a\"}" 7"#)
        .with(|o| o.kinds = vec!["b_*=integer".into()])
        .gives(r#"algorithmia,algorithm_name=a a_text="t" 7"#);
    input("a metric's own, beside a tag", r#"kafka_consumer,b=t b_field=1i,b=2i,value="{\"algorithm_name\":\"a\"}" 7"#)
        .gives("algorithmia,algorithm_name=a,b=t b_field=2 7");
    message("a tag", r#"{"algorithm_name":"a","x":1,"algorithm_name":"b"}"#)
        .gives("algorithmia,algorithm_name=b x=1 7");
    message("a time", r#"{"algorithm_name":"a","x":1,"time":1,"time":1613780514867231000}"#)
        .gives("algorithmia,algorithm_name=a x=1 1613780514867231000");
    message("after flattening", r#"{"algorithm_name":"a","m":{"b":1},"m_b":2,"n_b":3,"n":{"b":4},"o":[5],"o_0":6}"#)
        .gives("algorithmia,algorithm_name=a m_b=2,n_b=4,o_0=6 7");
    message("in another spelling", r#"{"algorithm_name":"a","x":1,"\u0078":2}"#)
        .gives("algorithmia,algorithm_name=a x=2 7");
    message("after its underscores are lost", r#"{"algorithm_name":"a","x":1,"_x":2}"#)
        .gives("algorithmia,algorithm_name=a x=2 7");
}

/// "A field whose key is also one of the point's tag keys gets the suffix `_field`."
#[test]
fn a_field_beside_a_tag_of_its_name() {
    let metric = |payload: &str| tagged([("host", "h"), ("topic", "t")], payload, 7);
    input("an incoming tag's", &metric(r#"{"algorithm_name":"a","topic":"cats","host":1}"#))
        .gives(r#"algorithmia,algorithm_name=a,host=h,topic=t topic_text="cats",host_field=1 7"#);
    input(
        "a tag of the payload's wins over an incoming one",
        &metric(r#"{"algorithm_name":"a","topic":"cats","x":1}"#),
    )
    .with(|o| o.kinds = vec!["topic=tag".into()])
    .gives("algorithmia,algorithm_name=a,host=h,topic=cats x=1 7");
    input(
        "an incoming field's",
        "kafka_consumer,host=h host=5i,value=\"{\\\"algorithm_name\\\":\\\"a\\\",\\\"x\\\":1}\" 7\n",
    )
    .gives("algorithmia,algorithm_name=a,host=h x=1,host_field=5 7");
    message("no tag of that name came", r#"{"algorithm_name":"a","topic":"cats"}"#)
        .gives("algorithmia,algorithm_name=a topic_text=\"cats\" 7");
    input(
        "the name that arises is taken: the last wins",
        &metric(r#"{"algorithm_name":"a","topic":1,"topic_field":2}"#),
    )
    .gives("algorithmia,algorithm_name=a,host=h,topic=t topic_field=2 7");
}

/// "A key that InfluxDB reserves (`time`, or a leading `_`) is consumed (`time`, `timestamp`) or loses its underscores."
#[test]
fn reserved_keys() {
    message("consumed", r#"{"algorithm_name":"a","x":1,"time":1,"timestamp":2}"#)
        .with(|o| o.exact_time = true)
        .gives("algorithmia,algorithm_name=a x=1 1000000000");
    message("underscores", r#"{"algorithm_name":"a","_x":1,"__y":2,"_field":3,"_measurement":4,"z_":5}"#)
        .gives("algorithmia,algorithm_name=a x=1,y=2,field=3,measurement=4,z_=5 7");
    message("a time that arises so", r#"{"algorithm_name":"a","_time":1}"#)
        .gives("algorithmia,algorithm_name=a time_field=1 7");
    message("nothing is left", r#"{"algorithm_name":"a","x":1,"":2,"_":3,"___":4}"#)
        .gives("algorithmia,algorithm_name=a x=1 7");
    message("a tag", r#"{"_algorithm_name":"a","x":1}"#).gives("algorithmia,algorithm_name=a x=1 7");
}

/// "A string over 64 KiB is cut at a character boundary to what InfluxDB stores, and counted."
#[test]
fn long_strings_are_cut() {
    let long = |text: &str| format!(r#"{{"algorithm_name":"a","x":"{text}"}}"#);
    let line = |text: &str| format!("algorithmia,algorithm_name=a x_text=\"{text}\" 7");
    let full = "y".repeat(65_536);
    message("as long as may be", &long(&full)).gives(&line(&full));
    message("one more", &long(&format!("{full}y"))).gives(&line(&full));
    let most = "y".repeat(65_535);
    message("a character that would be cut in two", &long(&format!("{most}é"))).gives(&line(&most));
    message("one that fits", &long(&format!("{}é", &most[1..]))).gives(&line(&format!("{}é", &most[1..])));
    message("characters of four bytes", &long(&"😀".repeat(20_000))).gives(&line(&"😀".repeat(16_384)));
    let quotes = "\\\"".repeat(65_537);
    message("what counts is the text, not its escapes", &long(&quotes)).gives(&line(&"\\\"".repeat(65_536)));
    message("session_id too", &format!(r#"{{"algorithm_name":"a","session_id":"{full}y"}}"#))
        .gives(&format!("algorithmia,algorithm_name=a session_id=\"{full}\" 7"));
    input(
        "a field that came with the message",
        &format!("kafka_consumer value={},x=\"{full}yy\" 7\n", quoted(r#"{"algorithm_name":"a"}"#)),
    )
    .gives(&line(&full));

    let events = |text: &str| count_events(metric(&long(text), 7).as_bytes(), &Options::default());
    assert!(events(&format!("{full}y")) > events(&full), "counted");
}

// ========================================================================================================= Its time

/// "`time`, else `timestamp`, else the metric's own timestamp, else now."
#[test]
fn where_the_time_comes_from() {
    let time = |name: &str, members: &str, expected: &str| {
        message(name, &format!(r#"{{"algorithm_name":"a","x":1{members}}}"#))
            .with(|o| o.exact_time = true)
            .gives(&format!("algorithmia,algorithm_name=a x=1 {expected}"));
    };
    time("time", r#","time":1,"timestamp":2"#, "1000000000");
    time("time, in any order", r#","timestamp":2,"time":1"#, "1000000000");
    time("timestamp", r#","timestamp":2"#, "2000000000");
    time("an object", r#","timestamp":2,"time":{"$date":1000}"#, "1000000000");
    time("timestamp, beside an object that is no time", r#","timestamp":{"$date":2000},"time":{"a":1}"#, "2000000000");
    time("null is as if absent", r#","time":null,"timestamp":2"#, "2000000000");
    time("the metric's", "", "7");
    time("the metric's, for null", r#","time":null,"timestamp":null"#, "7");
    input("now", &format!("kafka_consumer value={}\n", quoted(r#"{"algorithm_name":"a","x":1}"#)))
        .gives("algorithmia,algorithm_name=a x=1 1600000000123456789");
}

/// "Accepted: ISO 8601 / RFC 3339 with `T` or space, any fraction, `Z`, an offset or nothing (UTC); epoch seconds,
/// milliseconds, microseconds, nanoseconds as number or text, by magnitude. Also RFC 2822 and HTTP dates, a zone's name behind the
/// time, and the objects and arrays in which MongoDB and java.time write a time."
#[test]
fn accepted_times() {
    let rows = [
        (r#""2021-02-20T00:21:54.867231""#, "1613780514867231000"),
        (r#""2021-02-20 00:21:54.867231""#, "1613780514867231000"),
        (r#""2021-02-20t00:21:54.867231z""#, "1613780514867231000"),
        (r#""2021-02-20T00:21:54.867231Z""#, "1613780514867231000"),
        (r#""2021-02-20T00:21:54.867231+00:00""#, "1613780514867231000"),
        (r#""2021-02-20T01:21:54.867231+01:00""#, "1613780514867231000"),
        (r#""2021-02-19T16:21:54.867231-0800""#, "1613780514867231000"),
        (r#""2021-02-20T05:51:54.867231+05:30""#, "1613780514867231000"),
        (r#""2021-02-20T14:21:54.867231+14""#, "1613780514867231000"),
        (r#""2021-02-20 01:21:54.867231 +01:00""#, "1613780514867231000"),
        (r#""2021-02-20 00:21:54 Z""#, "1613780514000000000"),
        (r#""2021-02-20T00:21:54""#, "1613780514000000000"),
        (r#""2021-02-20T00:21""#, "1613780460000000000"),
        (r#""2021-02-20T00:21Z""#, "1613780460000000000"),
        (r#""2021-02-20T00:21:54.8""#, "1613780514800000000"),
        (r#""2021-02-20T00:21:54,867""#, "1613780514867000000"),
        (r#""2021-02-20T00:21:54.867231123""#, "1613780514867231123"),
        (r#""2021-02-20T00:21:54.867231123999""#, "1613780514867231123"),
        (r#""2016-12-31T23:59:60Z""#, "1483228800000000000"),
        (r#""2020-02-29T12:00:00Z""#, "1582977600000000000"),
        (r#""1969-12-31T23:59:59.5Z""#, "-500000000"),
        (r#""1970-01-01T00:00:00Z""#, "0"),
        (r#""2021-02-20T00:21:54.867231Z[UTC]""#, "1613780514867231000"),
        (r#""2021-02-20T01:21:54.867231+01:00[Europe/Paris]""#, "1613780514867231000"),
        (r#""2021-02-20T00:21:54.867231 UTC""#, "1613780514867231000"),
        (r#""2021-02-20 00:21:54GMT""#, "1613780514000000000"),
        (r#""2021-02-20 01:21:54.867231123 +0100 CET m=+0.000012345""#, "1613780514867231123"),
        (r#""Sat, 20 Feb 2021 00:21:54 GMT""#, "1613780514000000000"),
        (r#""Sat, 20 Feb 2021 01:21:54 +0100""#, "1613780514000000000"),
        (r#""20 Feb 2021 00:21 UT""#, "1613780460000000000"),
        (r#""Saturday, 20-Feb-21 00:21:54 GMT""#, "1613780514000000000"),
        (r#""Sat Feb 20 00:21:54 2021""#, "1613780514000000000"),
        (r#""Sat Feb 20 2021 00:21:54 GMT+0000 (Coordinated Universal Time)""#, "1613780514000000000"),
        (r#"{"$date":"2021-02-20T00:21:54.867Z"}"#, "1613780514867000000"),
        (r#"{"$date":1613780514867}"#, "1613780514867000000"),
        // Milliseconds, whatever their number.
        (r#"{"$date":86400000}"#, "86400000000000"),
        (r#"{"$date":{"$numberLong":"1613780514867"}}"#, "1613780514867000000"),
        (r#"{"$timestamp":{"t":1613780514,"i":1}}"#, "1613780514000000000"),
        (r#"{"epochSecond":1613780514,"nano":867231123}"#, "1613780514867231123"),
        (r#"{"seconds":"1613780514","nanos":867231123}"#, "1613780514867231123"),
        ("[2021,2,20,0,21,54,867231123]", "1613780514867231123"),
        ("[2021,2,20,0,21,54]", "1613780514000000000"),
        ("[2021,2,20,0,21]", "1613780460000000000"),
        (
            r#"{"dayOfMonth":20,"dayOfWeek":"SATURDAY","dayOfYear":51,"month":"FEBRUARY","monthValue":2,"year":2021,"hour":0,"minute":21,"nano":867231123,"second":54,"chronology":{"id":"ISO","calendarType":"iso8601"}}"#,
            "1613780514867231123",
        ),
        ("1613780514", "1613780514000000000"),
        ("1613780514867", "1613780514867000000"),
        ("1613780514867231", "1613780514867231000"),
        ("1613780514867231123", "1613780514867231123"),
        (r#""1613780514""#, "1613780514000000000"),
        (r#""1613780514867""#, "1613780514867000000"),
        (r#""1613780514867231""#, "1613780514867231000"),
        (r#""1613780514867231123""#, "1613780514867231123"),
        // As text, not through a float: that would give ...867230892.
        ("1613780514.867231", "1613780514867231000"),
        ("1613780514.867231000", "1613780514867231000"),
        ("1613780514.000000001", "1613780514000000001"),
        (r#""1613780514.867231""#, "1613780514867231000"),
        ("1613780514.8672311239", "1613780514867231123"),
        ("1613780514867.231", "1613780514867231000"),
        ("1613780514867231.123", "1613780514867231123"),
        ("1613780514867231123.9", "1613780514867231123"),
        ("1.613780514867e9", "1613780514867000000"),
        ("0", "0"),
        ("-1", "-1000000000"),
        ("-1613780514867", "-1613780514867000000"),
        // The magnitudes' borders.
        ("9223372036", "9223372036000000000"),
        ("100000000000", "100000000000000000"),
        ("100000000000000", "100000000000000000"),
        ("100000000000000000", "100000000000000000"),
        // The first and the last that InfluxDB stores.
        (r#""1677-09-21T00:12:43.145224194Z""#, "-9223372036854775806"),
        (r#""2262-04-11T23:47:16.854775806Z""#, "9223372036854775806"),
        ("9223372036854775806", "9223372036854775806"),
        ("-9223372036854775806", "-9223372036854775806"),
    ];
    for (time, expected) in rows {
        message(time, &format!(r#"{{"time":{time},"algorithm_name":"a","x":1}}"#))
            .with(|o| o.exact_time = true)
            .gives(&format!("algorithmia,algorithm_name=a x=1 {expected}"));
    }
}

/// "The metric's own timestamp counts as known to the digits that it has: one that ends in milliseconds (Kafka's time of
/// the record) is filled like a payload's. Zero, or before 1970, is none."
#[test]
fn the_metrics_time_is_filled_too() {
    let filled = |payload: &str, time: i64, exact_time: bool, fields: &str, expected: &str| {
        input(&format!("{time}, exact: {exact_time}"), &metric(payload, time))
            .with(|o| o.exact_time = exact_time)
            .gives(&format!("algorithmia,algorithm_name=a {fields} {expected}"));
    };
    let with_id = |time: i64, exact_time: bool, expected: &str| {
        let payload = r#"{"algorithm_name":"a","x":1,"request_id":"r"}"#;
        filled(payload, time, exact_time, "x=1,request_id=\"r\"", expected);
    };
    // XXH3-64 of `r`.
    with_id(1_613_780_514_867_000_000, false, "1613780514867238709");
    with_id(1_613_780_514_000_000_000, false, "1613780514000238709");
    with_id(1_613_780_514_867_231_000, false, "1613780514867231709");
    with_id(1_613_780_514_867_231_120, false, "1613780514867231129");
    with_id(1_613_780_514_867_231_123, false, "1613780514867231123");
    with_id(1, false, "1");
    with_id(1_613_780_514_867_000_000, true, "1613780514867000000");
    for none in [0, -1, -1_000_000, i64::MIN, -6_795_364_578_871_345_152] {
        with_id(none, false, "1600000000123456789");
        with_id(none, true, "1600000000123456789");
    }
    // As late as InfluxDB stores.
    with_id(i64::MAX - 1, false, "9223372036854775806");
    with_id(i64::MAX, false, "1600000000123456789");
    // XXH3-64 of the payload.
    let payload = r#"{"algorithm_name":"a","x":1}"#;
    filled(payload, 1_613_780_514_867_000_000, false, "x=1", "1613780514867242343");
    // What cannot be read gives no digits either.
    let payload = r#"{"algorithm_name":"a","x":1,"time":"yesterday","request_id":"r"}"#;
    filled(payload, 1_613_780_514_867_000_000, false, "x=1,request_id=\"r\"", "1613780514867238709");
}

/// "All payloads of an array have the hash of the whole, and each its place behind it": two that are the same are two calls.
#[test]
fn the_payloads_of_an_array_share_the_metrics_time_and_keep_apart() {
    let array = r#"[{"algorithm_name":"a","x":1,"request_id":"r"},{"algorithm_name":"a","x":1,"request_id":"r"},{"x":2},{"x":2},{"algorithm_name":"a","x":1,"time":"2021-02-20T00:21:54.867231","request_id":"r"}]"#;
    let point = |time: &str| format!("algorithmia,algorithm_name=a x=1,request_id=\"r\" {time}\n");
    let rejected = |time: &str| {
        format!("algorithmia_rejected,reason=missing_algorithm_name error=\"*\",payload=\"{{\\\"x\\\":2}}\" {time}\n")
    };
    let gives = |time: i64, exact_time: bool, [first, second, third, fourth, last]: [&str; 5]| {
        let expected = [point(first), point(second), rejected(third), rejected(fourth), point(last)].concat();
        input(&format!("{time}, exact: {exact_time}"), &metric(array, time))
            .with(|o| o.exact_time = exact_time)
            .gives(expected.trim_end());
    };
    // XXH3-64 of the array, and of `{"x":2}`, with the place added; the last has a time of its own, and XXH3-64 of `r`.
    gives(
        1_613_780_514_867_000_000,
        false,
        [
            "1613780514867692831",
            "1613780514867692832",
            "1613780514867398859",
            "1613780514867398860",
            "1613780514867231709",
        ],
    );
    gives(
        1_613_780_514_867_000_000,
        true,
        [
            "1613780514867000000",
            "1613780514867000001",
            "1613780514867398859",
            "1613780514867398860",
            "1613780514867231000",
        ],
    );
    // What has all its digits gets one more for each place.
    gives(
        1_613_780_514_867_231_123,
        false,
        [
            "1613780514867231123",
            "1613780514867231124",
            "1613780514867231123",
            "1613780514867231124",
            "1613780514867231709",
        ],
    );
}

/// "A time that cannot be read, or that InfluxDB cannot store, falls back as above; the point is kept, counted and logged."
#[test]
fn unreadable_times() {
    let rows = [
        r#""now""#,
        r#""""#,
        r#""2021-02-20""#,
        r#""2021-02-30T00:00:00""#,
        r#""2021-13-01T00:00:00""#,
        r#""2021-02-20T24:00:01""#,
        r#""2021-02-20T00:60:00""#,
        r#""2021-02-20T00:00:61""#,
        r#""2021-02-20T00:21:54.""#,
        r#""2021-02-20T00:21:54+1""#,
        r#""2021-02-20T00:21:54 CET""#,
        r#""2021-02-20T00:21:54[Europe/Paris]""#,
        r#""Sat, 20 Feb 2021 00:21:54 CET""#,
        r#""Wed, 31 Feb 2021 00:21:54 GMT""#,
        r#""2021-02-20X00:21:54""#,
        r#""20210220T002154Z""#,
        r#""2021-2-20T00:21:54""#,
        r#""1,613,780,514""#,
        r#""0x60305462""#,
        "true",
        "{\"a\":1}",
        "[1613780514]",
        "[2021,2]",
        "[2021,13,20,0,21]",
        "[2021,2,20,0,21,54,867231000,0]",
        "[true,false]",
        r#"{"$date":1613780514867,"x":1}"#,
        r#"{"$date":true}"#,
        r#"{"seconds":1613780514}"#,
        r#"{"a":{"$date":1613780514867}}"#,
        "{}",
        "NaN",
        "Infinity",
        "1e30",
        "1e999",
        "-1e30",
        // It can be read, but not stored.
        r#""9999-12-31T23:59:59""#,
        r#""0000-01-01T00:00:00""#,
        r#""2262-04-11T23:47:16.854775807Z""#,
        r#""1677-09-21T00:12:43.145224193Z""#,
        "9223372036854775807",
        "-9223372036854775807",
        "9223372037",
        "99999999999",
    ];
    let clean = count_events(metric(r#"{"algorithm_name":"a","x":1}"#, 7).as_bytes(), &Options::default());
    for time in rows {
        let payload = format!(r#"{{"time":{time},"algorithm_name":"a","x":1}}"#);
        message(time, &payload).gives("algorithmia,algorithm_name=a x=1 7");
        assert!(count_events(metric(&payload, 7).as_bytes(), &Options::default()) > clean, "time {time}: not counted");
        message(
            time,
            &format!(r#"{{"time":{time},"algorithm_name":"a","x":1,"timestamp":"2021-02-20T00:21:54.867231123Z"}}"#),
        )
        .gives("algorithmia,algorithm_name=a x=1 1613780514867231123");
    }
    // The digits that are filled in must not carry it over the border either.
    for time in
        [r#""2262-04-11T23:47:16.854775Z""#, "9223372036854775", r#""1677-09-21T00:12:43.145224Z""#, "9223372036.854"]
    {
        for request_id in 0..50 {
            let payload = format!(r#"{{"time":{time},"algorithm_name":"a","x":1,"request_id":"{request_id}"}}"#);
            check_output(&convert(metric(&payload, 7).as_bytes(), &Options::default()), &Options::default());
        }
    }
}

/// "Two calls of one algorithm in the same microsecond must both survive: the digits that the payload's time does not
/// have (at most the last six) are filled from a stable hash of request_id, or of the whole payload where it has none."
#[test]
fn missing_digits_are_filled() {
    let filled = |name: &str, time: &str, expected: &str| {
        message(name, &format!(r#"{{"time":{time},"algorithm_name":"a","x":1,"request_id":"r"}}"#))
            .gives(&format!("algorithmia,algorithm_name=a x=1,request_id=\"r\" {expected}"));
    };
    // XXH3-64 of `r`.
    filled("six digits", r#""2021-02-20T00:21:54.867231""#, "1613780514867231709");
    filled("three", r#""2021-02-20T00:21:54.867""#, "1613780514867238709");
    filled("none: at most the last six", r#""2021-02-20T00:21:54""#, "1613780514000238709");
    filled("no seconds", r#""2021-02-20T00:21""#, "1613780460000238709");
    filled("four", r#""2021-02-20T00:21:54.8672""#, "1613780514867238709");
    filled("eight", r#""2021-02-20T00:21:54.86723112""#, "1613780514867231129");
    filled("nine", r#""2021-02-20T00:21:54.867231000""#, "1613780514867231000");
    filled("nine, of a number", "1613780514.867231000", "1613780514867231000");
    filled("none, of a date in words", r#""Sat, 20 Feb 2021 00:21:54 GMT""#, "1613780514000238709");
    filled("milliseconds of MongoDB", r#"{"$date":1613780514867}"#, "1613780514867238709");
    filled("seconds of java.time", "[2021,2,20,0,21,54]", "1613780514000238709");
    filled("nanoseconds of java.time", "[2021,2,20,0,21,54,867231000]", "1613780514867231709");
    filled("all of them", "[2021,2,20,0,21,54,867231001]", "1613780514867231001");
    filled("zeros are digits", r#""2021-02-20T00:21:54.000000""#, "1613780514000000709");
    filled("seconds", "1613780514", "1613780514000238709");
    filled("milliseconds", "1613780514867", "1613780514867238709");
    filled("microseconds", "1613780514867231", "1613780514867231709");
    filled("nanoseconds", "1613780514867231000", "1613780514867231000");
    filled("as text", r#""1613780514.867231""#, "1613780514867231709");
    filled("a fraction of milliseconds", "1613780514867.2", "1613780514867238709");
    filled("before 1970", r#""1969-12-31T23:59:59.5""#, "-499761291");

    let by = |name: &str, members: &str, expected: &str| {
        message(name, &format!(r#"{{"time":1613780514867231,"algorithm_name":"a","x":1{members}}}"#)).gives(expected);
    };
    // XXH3-64 of `é"`, `1.10` and `true`: the text, not its spelling.
    by(
        "an awkward request_id",
        r#","request_id":"\u00e9\"""#,
        "algorithmia,algorithm_name=a x=1,request_id=\"é\\\"\" 1613780514867231513",
    );
    by("a number", r#","request_id":1.10"#, "algorithmia,algorithm_name=a x=1,request_id=\"1.10\" 1613780514867231968");
    by(
        "a boolean",
        r#","request_id":true"#,
        "algorithmia,algorithm_name=a x=1,request_id=\"true\" 1613780514867231609",
    );
    // XXH3-64 of the payload's text.
    by("no request_id", "", "algorithmia,algorithm_name=a x=1 1613780514867231927");
    by("null", r#","request_id":null"#, "algorithmia,algorithm_name=a x=1 1613780514867231994");
    by("empty", r#","request_id":"""#, "algorithmia,algorithm_name=a x=1,request_id=\"\" 1613780514867231214");
    by("no scalar", r#","request_id":[7]"#, "algorithmia,algorithm_name=a x=1,request_id_0=7 1613780514867231464");
    by(
        "the last of several",
        r#","request_id":"s","request_id":"r""#,
        "algorithmia,algorithm_name=a x=1,request_id=\"r\" 1613780514867231709",
    );
    message(
        "what is around the payload does not count",
        "\n {\"time\":1613780514867231,\"algorithm_name\":\"a\",\"x\":1} ",
    )
    .gives("algorithmia,algorithm_name=a x=1 1613780514867231927");
    message("nor the array it is in", r#"[ {"time":1613780514867231,"algorithm_name":"a","x":1} , {"time":1613780514867231,"algorithm_name":"a","x":2}]"#)
        .gives("algorithmia,algorithm_name=a x=1 1613780514867231927\nalgorithmia,algorithm_name=a x=2 1613780514867231799");
    message(
        "`timestamp` is filled as well",
        r#"{"timestamp":1613780514867231,"algorithm_name":"a","x":1,"request_id":"r"}"#,
    )
    .gives("algorithmia,algorithm_name=a x=1,request_id=\"r\" 1613780514867231709");
}

/// "The same message always gives the same point, on every machine and version, so a replay overwrites itself"
#[test]
fn a_replay_overwrites_itself() {
    let payload = r#"{"time":"2021-02-20T00:21:54","algorithm_name":"a","x":1}"#;
    let line = metric(payload, 7);
    // The same message, read again later and by another host, whose own tag is kept off.
    let later = line.replace(" 7\n", " 8\n");
    let out = convert(format!("{line}{line}{later}").as_bytes(), &Options::default());
    let out = String::from_utf8(out).unwrap();
    let lines: HashSet<&str> = out.lines().collect();
    assert_eq!((out.lines().count(), lines.len()), (3, 1), "{out}");

    let rejected = metric("hello", 7);
    let out = convert(format!("{rejected}{rejected}").as_bytes(), &Options::default());
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.lines().collect::<HashSet<_>>().len(), 1, "a rejection too: {out}");
}

/// "The shipped configurations take Kafka's time, so a message without a time of its own gives the same point whenever it is
/// read": 1,000 different messages of one millisecond, by one process and by two that share them.
#[test]
fn messages_without_a_time_of_one_millisecond_give_the_same_points_again() {
    const TIME: i64 = 1_613_780_514_867_000_000;
    let payload = |index: usize| match index % 10 {
        0 => format!("broken {index}"),
        1 => format!(r#"[{{"algorithm_name":"a","x":{index}}},{{"y":{index}}},{{"algorithm_name":"a","x":{index}}}]"#),
        2..6 => format!(r#"{{"algorithm_name":"a","x":1,"request_id":"req-{index}"}}"#),
        _ => format!(r#"{{"algorithm_name":"a","x":{index}}}"#),
    };
    let lines: Vec<String> = (0..1000).map(|index| metric(&payload(index), TIME)).collect();
    let points = |lines: &[String]| {
        let out = String::from_utf8(convert(lines.concat().as_bytes(), &Options::default())).unwrap();
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let identity = |line: &str| {
        let line = decode(line);
        (line.measurement, line.tags, line.time)
    };
    let all = points(&lines);
    assert_eq!(all.len(), 1200);
    assert_eq!(all.iter().map(|line| identity(line)).collect::<BTreeSet<_>>().len(), 1200, "some overwrite others");
    let again: HashSet<String> = [&lines[500..], &lines[..700], &lines[123..]].into_iter().flat_map(points).collect();
    assert_eq!(again, all.into_iter().collect());
}

/// "`--exact-time` turns the filling off." And what the filling is for: 200,000 calls of one algorithm within 1,000
/// seconds, some of them in the same microsecond.
#[test]
fn two_calls_in_one_microsecond_both_survive() {
    const CALLS: usize = 200_000;
    // xorshift64*, so that the calls are always the same.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let mut text = String::new();
    for _ in 0..CALLS {
        let at = random() % 1_000_000_000;
        let (second, micro) = (at / 1_000_000, at % 1_000_000);
        text += &format!(
            "{{\"risk_score\":0.2,\"time\":\"2021-02-20T00:{:02}:{:02}.{micro:06}\",\"algorithm_name\":\"credit_card_approval\",\"request_id\":\"req-{:016x}\",\"algorithm_owner\":\"asli\"}}\n",
            second / 60,
            second % 60,
            random()
        );
    }
    let points = |exact_time| {
        let options = Options { exact_time, ..Options::default() };
        let out = String::from_utf8(convert(text.as_bytes(), &options)).unwrap();
        assert_eq!(out.lines().count(), CALLS);
        let identity = |line: &str| {
            let (series, rest) = line.split_once(' ').unwrap();
            format!("{series} {}", rest.rsplit_once(' ').unwrap().1)
        };
        out.lines().map(identity).collect::<HashSet<_>>().len()
    };
    assert_eq!(points(false), CALLS);
    // As the random times have it; about 20 were to be expected.
    assert_eq!(points(true), CALLS - 14);
}

// ========================================================================================== What cannot be converted

/// "Nothing is dropped silently: `algorithmia_rejected,reason=<code>[,incoming tags] error="...",payload="..." <time>`
/// goes out in the message's place."
#[test]
fn rejections_take_the_messages_place() {
    input(
        "in its place",
        concat!(
            "cpu x=1 1\n",
            "kafka_consumer value=\"hello\" 2\n",
            "kafka_consumer value=\"{\\\"algorithm_name\\\":\\\"a\\\",\\\"x\\\":1}\" 3\n",
        ),
    )
    .gives(concat!(
        "cpu x=1 1\n",
        "algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"hello\" 2\n",
        "algorithmia,algorithm_name=a x=1 3",
    ));
    input("incoming tags", "kafka_consumer,topic=t,host=h,reason=mine,_x=1 value=\"hello\",offset=5i 7\n")
        .gives("algorithmia_rejected,host=h,reason=invalid_json,topic=t,x=1 error=\"*\",payload=\"hello\" 7");
    for none in ["", " 0", " -1", " -6795364578871345152"] {
        input("no time of its own", &format!("kafka_consumer value=\"hello\"{none}\n"))
            .gives("algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"hello\" 1600000000123456789");
    }
    // XXH3-64 of `hello`: the digits that the time lacks, at most six.
    input("a time in microseconds", "kafka_consumer value=\"hello\" 1613780514867231000\n")
        .gives("algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"hello\" 1613780514867231389");
    input("a time in seconds", "kafka_consumer value=\"hello\" 1613780514000000000\n")
        .gives("algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"hello\" 1613780514000515389");
    message("awkward text", "a\"b\\c\nd,e=f \t#")
        .gives("algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"a\\\"b\\\\c\nd,e=f \t#\" 7");
}

/// "Codes: invalid_json, not_an_object, missing_algorithm_name, no_fields, too_large, invalid_metric."
#[test]
fn codes() {
    let code = |reason: &str, payload: &str| {
        message(reason, payload)
            .gives(&format!("algorithmia_rejected,reason={reason} error=\"*\",payload={} 7", quoted(payload)));
    };
    for broken in [
        "",
        "hello",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{1:1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":0x1}",
        "{\"a\":tru}",
        "{\"a\":True}",
        "{\"a\":\"b}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":[1,]}",
        "{\"a\":[1}",
        "{\"a\":{]}",
        "{\"a\":1} x",
        "{\"a\":1}]",
        "{\"a\":1},{\"a\":1}",
        "{NaN:1}",
        "{\"a\":undefined}",
        "{/**/}",
    ] {
        code("invalid_json", broken);
    }
    for other in ["42", "-1.5e3", "\"text\"", "true", "false", "null", "[]", "[ ]", "NaN", "-Infinity"] {
        code("not_an_object", other);
    }
    code("missing_algorithm_name", r#"{"x":1}"#);
    for empty in [
        r#"{"algorithm_name":"a"}"#,
        r#"{"algorithm_name":"a","algorithm_owner":"o","algorithm_version":"1"}"#,
        r#"{"algorithm_name":"a","time":1,"timestamp":2}"#,
        r#"{"algorithm_name":"a","x":null,"y":NaN,"z":[],"w":{}}"#,
    ] {
        code("no_fields", empty);
    }
    for broken in [
        "cpu",
        "cpu x",
        "cpu x=",
        "cpu x=1x",
        "cpu x=abc",
        "cpu =1",
        "cpu,a x=1",
        "cpu,a= x=1",
        "cpu,=b x=1",
        "cpu, x=1",
        "=",
        ",a=b x=1",
        "cpu x=1,",
        "cpu x=1,,y=2",
        "cpu x=1 y",
        "cpu x=1 1.5",
        "cpu x=01i",
        "cpu x=9223372036854775808i",
        "cpu x=-1u",
        "cpu x=1e999",
        "cpu x=1 9223372036854775808",
        r#"cpu x="a\b""#,
        r#"cpu x="a"b"#,
        r"cpu,a=b\ x=1",
        "cpu,a=b=c x=1",
        "kafka_consumer value={}",
        "cpu x=1 12345678901234567890",
        "cpu,a=\u{b} x=1",
        "cpu x=--1",
        "cpu x=1e",
        "cpu x=.",
        "hello world",
    ] {
        input(broken, &format!("cpu x=1 1\n{broken}\ncpu x=2 2\n")).gives(&format!(
            "cpu x=1 1\nalgorithmia_rejected,reason=invalid_metric error=\"*\",payload={} 1600000000123456789\ncpu x=2 2",
            quoted(broken)
        ));
    }
}

/// "Invalid UTF-8 is invalid_json, kept with replacement characters."
#[test]
fn invalid_utf8() {
    let rows: [(&[u8], &str); 5] = [
        (b"{\"algorithm_name\":\"\xFF\",\"x\":1}", "{\"algorithm_name\":\"\u{fffd}\",\"x\":1}"),
        (b"{\"algorithm_name\":\"a\",\"x\":\"\xC3\"}", "{\"algorithm_name\":\"a\",\"x\":\"\u{fffd}\"}"),
        (b"\x80abc\xF0\x9F\x98", "\u{fffd}abc\u{fffd}"),
        // A surrogate, in the way of CESU-8, is three broken bytes.
        (b"{\"a\":\"\xED\xA0\x80\"}", "{\"a\":\"\u{fffd}\u{fffd}\u{fffd}\"}"),
        (b"\x01\x00\x02\xFE\xFF", "\u{1}\0\u{2}\u{fffd}\u{fffd}"),
    ];
    for (bytes, kept) in rows {
        bytes_input("in a message", &metric_bytes(bytes, 7))
            .gives(&format!("algorithmia_rejected,reason=invalid_json error=\"*\",payload={} 7", quoted(kept)));
    }
    bytes_input("in a line of JSON", b"{\"a\":\"\xFF\"}\n{\"algorithm_name\":\"a\",\"x\":1}\n").gives(concat!(
        "algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"{\\\"a\\\":\\\"\u{fffd}\\\"}\" 1600000000123456789\n",
        "algorithmia,algorithm_name=a x=1 1600000000123456790",
    ));
    bytes_input(
        "in a metric's tag",
        b"kafka_consumer,host=\xFF value=\"{\\\"algorithm_name\\\":\\\"a\\\",\\\"x\\\":1}\" 7\n",
    )
    .gives("algorithmia,algorithm_name=a,host=\u{fffd} x=1 7");
}

/// "The payload is kept whole up to 60 KiB."
#[test]
fn a_rejected_payload_is_kept() {
    let rejected =
        |text: &str| format!("algorithmia_rejected,reason=invalid_json error=\"*\",payload={} 7", quoted(text));
    let full = "y".repeat(61_440);
    message("60 KiB", &full).gives(&rejected(&full));
    message("one more", &format!("{full}y")).gives(&rejected(&full));
    message("a character that would be cut in two", &format!("{}é", &full[1..])).gives(&rejected(&full[1..]));
    message("what counts is the text, not its escapes", &"\"".repeat(61_441)).gives(&rejected(&"\"".repeat(61_440)));
}

/// "Two different rejected messages never overwrite each other."
#[test]
fn rejections_do_not_overwrite_each_other() {
    input(
        "with one timestamp",
        "kafka_consumer value=\"one\" 7\nkafka_consumer value=\"two\" 7\nkafka_consumer value=\"one\" 7\n",
    )
    .gives(concat!(
        "algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"one\" 7\n",
        "algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"two\" 8\n",
        "algorithmia_rejected,reason=invalid_json error=\"*\",payload=\"one\" 7",
    ));

    let different = |name: &str, texts: Vec<String>| {
        for time in [7, 1_613_780_514_867_231_123, 1_613_780_514_867_231_000, 1_613_780_514_000_000_000] {
            let input: String = texts.iter().map(|text| metric(text, time)).collect();
            let out = convert(input.as_bytes(), &Options::default());
            let times: HashSet<i64> = lines::split(&out)
                .unwrap()
                .into_iter()
                .map(|line| decode(std::str::from_utf8(line).unwrap()).time)
                .collect();
            assert_eq!(times.len(), texts.len(), "{name} at {time}");
        }
    };
    different("many at once", (0..300).map(|n| format!("broken {n}")).collect());
    let head = "y".repeat(70_000);
    different("those that differ only behind what is kept", vec![format!("{head}1"), format!("{head}2")]);
    let head = "y".repeat(1024 * 1024);
    different("those that are too large, too", vec![format!("{head}1"), format!("{head}2"), format!("{head}12")]);
}

/// "Limits, each an option with a documented default: message size 1 MiB, 1,000 fields, nesting 64."
#[test]
fn limits() {
    let too_large = |payload: &str| {
        let kept = &payload[..payload.len().min(61_440)];
        format!("algorithmia_rejected,reason=too_large error=\"*\",payload={} 7", quoted(kept))
    };
    let defaults = telegraf_algorithmia::Settings::default();
    assert_eq!((defaults.limits.message, defaults.limits.fields, defaults.limits.nesting), (1_048_576, 1000, 64));
    assert_eq!(
        (defaults.measurement.as_str(), defaults.field.as_str(), defaults.exact_time),
        ("algorithmia", "value", false)
    );
    assert_eq!(defaults.sources, ["kafka_consumer"]);

    // Message size.
    let sized = |bytes: usize| {
        let blank = bytes - r#"{"algorithm_name":"a","x":1}"#.len();
        format!("{{\"algorithm_name\":\"a\",{}\"x\":1}}", " ".repeat(blank))
    };
    message("1 MiB", &sized(1_048_576)).gives("algorithmia,algorithm_name=a x=1 7");
    message("1 MiB and a byte", &sized(1_048_577)).gives(&too_large(&sized(1_048_577)));
    // Twice as long as a line, for every quote and backslash is escaped there.
    let escapes = format!(r#"{{"algorithm_name":"a","x":"{}"}}"#, r#"\""#.repeat(524_270));
    message("1 MiB, whatever its escapes", &escapes)
        .gives(&format!("algorithmia,algorithm_name=a x_text={} 7", quoted(&"\"".repeat(65_536))));
    message("a limit of its own", &sized(100)).with(|o| o.message = 100).gives("algorithmia,algorithm_name=a x=1 7");
    message("and a byte", &sized(101)).with(|o| o.message = 100).gives(&too_large(&sized(101)));
    let after = r#"{"algorithm_name":"b","x":2,"time":1613780514867231000}"#;
    for raw in [
        format!("{}\n{after}\n", sized(1_048_577)),
        format!("[{},{after}]", sized(1_048_577)),
        format!("{}{after}", sized(1_048_577)),
    ] {
        input("raw JSON: the neighbours survive", &raw).gives(&format!(
            "{}\nalgorithmia,algorithm_name=b x=2 1613780514867231000",
            too_large(&sized(1_048_577)).replace(" 7", " 1600000000123456789")
        ));
    }

    // Fields.
    let fields = |count: usize| (0..count).map(|n| format!("\"f{n}\":{n}")).collect::<Vec<_>>().join(",");
    let many = |count: usize| format!("{{\"algorithm_name\":\"a\",{}}}", fields(count));
    let line = (0..999).map(|n| format!("f{n}={n}")).collect::<Vec<_>>().join(",");
    message("999 fields and a tag", &many(999)).gives(&format!("algorithmia,algorithm_name=a {line} 7"));
    message("1,001 in all", &many(1000)).gives(&too_large(&many(1000)));
    let array = format!(r#"{{"algorithm_name":"a","x":[{}1]}}"#, "1,".repeat(999));
    message("items of an array", &array).with(|o| o.items = 1000).gives(&too_large(&array));
    let repeated = format!(r#"{{"algorithm_name":"a",{}"x":1}}"#, r#""x":1,"#.repeat(1000));
    message("one field, over and over", &repeated).gives("algorithmia,algorithm_name=a x=1 7");
    message("a limit of its own", r#"{"algorithm_name":"a","x":1,"y":2}"#)
        .with(|o| o.fields = 3)
        .gives("algorithmia,algorithm_name=a x=1,y=2 7");
    let three = r#"{"algorithm_name":"a","x":1,"y":2}"#;
    message("and one more", three).with(|o| o.fields = 2).gives(&too_large(three));

    // A repeated key that ends as null makes no field, so it does not count.
    message("what counts is the finished point", r#"{"x":1,"y":2,"algorithm_name":"a","x":null}"#)
        .with(|o| o.fields = 2)
        .gives("algorithmia,algorithm_name=a y=2 7");

    // Nesting.
    let arrays =
        |depth: usize| format!(r#"{{"algorithm_name":"a","x":{}1{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    message("64 deep", &arrays(64)).gives(&format!("algorithmia,algorithm_name=a x{}=1 7", "_0".repeat(63)));
    message("65 deep", &arrays(65)).gives(&too_large(&arrays(65)));
    let objects = |depth: usize| {
        format!(r#"{{"algorithm_name":"a","x":{}1{}}}"#, "{\"y\":".repeat(depth - 1), "}".repeat(depth - 1))
    };
    message("64 objects deep", &objects(64)).gives(&format!("algorithmia,algorithm_name=a x{}=1 7", "_y".repeat(63)));
    message("65 objects deep", &objects(65)).gives(&too_large(&objects(65)));
    message("100,000 deep", &arrays(100_000)).gives(&too_large(&arrays(100_000)));
    message("in an array of payloads", &format!("[{}]", arrays(64)))
        .gives(&format!("algorithmia,algorithm_name=a x{}=1 7", "_0".repeat(63)));
    message("a limit of its own", &arrays(2)).with(|o| o.nesting = 2).gives("algorithmia,algorithm_name=a x_0=1 7");
    message("and one more", &arrays(3)).with(|o| o.nesting = 2).gives(&too_large(&arrays(3)));
}

/// "The lines of a message take at most 16 times the bytes of the message as it arrived, and 32 KiB."
#[test]
fn the_lines_of_a_message_are_a_small_multiple_of_it() {
    let rejected = |text: &str, time: i64| {
        let kept = quoted(&text[..text.len().min(61_440)]);
        format!("algorithmia_rejected,reason=too_large error=\"*\",payload={kept} {time}")
    };
    let start = r#"{"algorithm_name":"a","time":1,"#;
    let of = |key: &str, count: usize, pad: usize| {
        let items = vec!["1"; count].join(",");
        format!(r#"{start}"{key}":[{items}],"pad":"{}"}}"#, "y".repeat(pad))
    };
    let line = |key: &str, count: usize, pad: usize| {
        let items: String = (0..count).map(|index| format!("{key}_{index}=1,")).collect();
        format!("algorithmia,algorithm_name=a {items}pad_text=\"{}\"", "y".repeat(pad))
    };

    // To the byte.
    for in_metric in [true, false] {
        let arrived = |text: &str| if in_metric { metric(text, 7).trim_end().len() } else { text.len() };
        let missing = |key: usize, pad: usize| {
            let key = "k".repeat(key);
            let most = 16 * arrived(&of(&key, 900, pad)) + 32_768;
            most.checked_signed_diff(line(&key, 900, pad).len()).unwrap()
        };
        for (wanted, fits) in [(0, true), (-1, false)] {
            let found = (100..115).find_map(|key| {
                // Each byte of it is 16 more that there is room for, and one that is needed.
                let pad = usize::try_from((wanted - missing(key, 0)) / 15).unwrap();
                (missing(key, pad) == wanted).then(|| ("k".repeat(key), pad))
            });
            let (key, pad) = found.expect("there is such a key");
            let text = of(&key, 900, pad);
            let time = if in_metric { 7 } else { NOW };
            let point = format!("{} 1000000000", line(&key, 900, pad));
            let expected = if fits { point } else { rejected(&text, time) };
            let case = if in_metric { message("a metric", &text) } else { input("by itself", &text) };
            case.with(|o| (o.exact_time, o.items) = (true, 1000)).gives(&expected);
        }
    }

    // Those beside it are unharmed.
    let members = (0..995).map(|index| format!("\"{index}\":1")).collect::<Vec<_>>().join(",");
    let long = format!(r#"{start}"{}":{{{members}}}}}"#, "k".repeat(14_000));
    let good = r#"{"algorithm_name":"b","x":2}"#;
    let both = format!("{}{}", metric(&long, 7), metric(good, 8));
    input("a long key over short ones", &both)
        .with(|o| o.items = 1000)
        .gives(&format!("{}\nalgorithmia,algorithm_name=b x=2 8", rejected(&long, 7)));
    message("the same in an array", &format!("[{good},{long},{good},{good}]")).with(|o| o.items = 1000).gives(
        &format!(
            "algorithmia,algorithm_name=b x=2 7\n{}\n{}",
            rejected(&long, 7),
            rejected(&format!("{good},{good}]"), 8)
        ),
    );

    // What is not stored is read all the same.
    for nothing in ["null", "NaN", "[]", "{}"] {
        let text = format!(r#"{start}"x":1,"{}":[{}]}}"#, "k".repeat(14_000), vec![nothing; 1000].join(","));
        message(nothing, &text).with(|o| o.items = 1000).gives(&rejected(&text, 7));
    }
    let text = format!(r#"{start}"x":1,"{}":[{}]}}"#, "k".repeat(14_000), "null,".repeat(999) + "null");
    message("what is dropped is not", &text)
        .with(|o| (o.exact_time, o.kinds) = (true, vec!["k*=drop".into()]))
        .gives("algorithmia,algorithm_name=a x=1 1000000000");
}

/// What is common is far from that bound.
#[test]
fn an_array_of_tiny_payloads_with_tags_has_room() {
    let message = format!("[{}]", vec![r#"{"algorithm_name":"a","x":1}"#; 36_000].join(","));
    let tags = (0..15).map(|index| (format!("some_tag_{index}"), format!("value_{index}")));
    let metric = tagged(tags, &message, 7);
    let out = convert(metric.as_bytes(), &Options::default());
    let shared = metric.find(" value=").unwrap() - "kafka_consumer".len();
    assert!((280..320).contains(&shared), "{shared} bytes of tags");
    assert_eq!(out.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"algorithmia,")).count(), 36_000);
    assert!(out.len() > 12_000_000);
}

/// Tags and other fields are in the lines of all items, and so are the tags in rejections.
#[test]
fn the_lines_of_an_array_are_a_small_multiple_of_it() {
    let good = r#"{\"algorithm_name\":\"a\",\"x\":1}"#;
    let long = "t".repeat(5000);
    for (what, tag, item, field) in [
        ("tags", format!(",t={long}"), good, String::new()),
        ("other fields", String::new(), good, format!(",f=\"{long}\"")),
        ("tags of rejections", format!(",t={long}"), "1", String::new()),
        ("rejections alone", String::new(), "1", String::new()),
    ] {
        let line = format!("kafka_consumer{tag} value=\"[{}]\"{field} 7", vec![item; 5000].join(","));
        let most = 16 * line.len() + 32_768;
        let out = convert(format!("{line}\n").as_bytes(), &Options::default());
        let lines = lines::split(&out).unwrap();
        let last = str::from_utf8(lines.last().unwrap()).unwrap();
        let before: usize = lines[..lines.len() - 2].iter().map(|line| line.len()).sum();
        assert!(before <= most && most < out.len(), "{what}: {before} of {most}, {}", out.len());
        let rest = format!("payload=\"{item},{item},");
        assert!(last.contains("reason=too_large") && last.contains(&rest), "{what}: {last:.300}");
        assert!(
            last.contains(&format!("the limit is {most}, 16 times the message and 32768 bytes")),
            "{what}: {last:.300}"
        );
        check_output(&out, &Options::default());
    }

    // They count where they are too long for InfluxDB, and left out.
    let line = format!("kafka_consumer,t={} value=\"[{}]\" 7\n", "t".repeat(66_000), vec![good; 5000].join(","));
    let out = convert(line.as_bytes(), &Options::default());
    let most = (16 * line.len() + 32_768) / 66_000;
    assert!((most..most + 3).contains(&lines::split(&out).unwrap().len()), "{most}");
}

/// InfluxDB refuses a series that is longer, with one of its fields, than 65,535 bytes, escapes included.
#[test]
fn a_series_that_influxdb_refuses_is_too_large() {
    let tag = |text: &str| format!(r#"{{"algorithm_name":"a","algorithm_owner":"{text}","x":1}}"#);
    message("60 KB", &tag(&"y".repeat(60_000)))
        .gives(&format!("algorithmia,algorithm_name=a,algorithm_owner={} x=1 7", "y".repeat(60_000)));
    let rejected = |payload: &str| {
        format!(
            "algorithmia_rejected,reason=too_large error=\"*\",payload={} 7",
            quoted(&payload[..payload.len().min(61_440)])
        )
    };
    message("a tag", &tag(&"y".repeat(66_000))).gives(&rejected(&tag(&"y".repeat(66_000))));
    message("with its escapes", &tag(&",".repeat(33_000))).gives(&rejected(&tag(&",".repeat(33_000))));
    let key = format!(r#"{{"algorithm_name":"a","{}":1}}"#, "k".repeat(66_000));
    message("a field's key", &key).gives(&rejected(&key));
    let both = format!(r#"{{"algorithm_name":"{}","{}":1}}"#, "n".repeat(33_000), "k".repeat(33_000));
    message("both", &both).gives(&rejected(&both));

    // The rejection has the incoming tags too, and must get through all the same.
    let payload = r#"{"algorithm_name":"a","x":1}"#;
    for tags in
        [format!(",host={}", "y".repeat(66_000)), format!(",host={},topic={}", "y".repeat(40_000), "z".repeat(40_000))]
    {
        for message in [payload, "hello"] {
            let out =
                convert(format!("kafka_consumer{tags} value={} 7\n", quoted(message)).as_bytes(), &Options::default());
            check_output(&out, &Options::default());
            let line = decode(std::str::from_utf8(&out).unwrap());
            assert_eq!(line.measurement, "algorithmia_rejected");
            assert_eq!(line.fields, [("payload".into(), reference::Value::String(message.into()))]);
        }
    }
}

/// "No input at all makes it panic, stall, grow without bound, or emit a line that InfluxDB or Telegraf cannot parse."
#[test]
fn no_input_harms() {
    let survives = |name: &str, input: &[u8]| {
        for format in [Format::Influx, Format::Json] {
            let options = Options { input: format, ..Options::default() };
            let out = convert(input, &options);
            let blank = input.trim_ascii().is_empty();
            assert!(blank || out.ends_with(b"\n"), "{name}: dropped silently");
            check_output(&out, &options);
            let cut = convert_chunks(&input.chunks(65_521).collect::<Vec<_>>(), &options);
            assert!(cut == out, "{name}: other chunks, other output");
        }
    };
    let mut garbage = vec![0; 200_000];
    Random::seed_from_u64(1).fill(&mut garbage[..]);
    survives("binary garbage", &garbage);
    survives("every byte", &(0..=255).collect::<Vec<u8>>());
    survives("only NULs", &[0; 1000]);

    let ten_megabytes = 10_000_000;
    for piece in ["y", "[", "{\"a\":", "\\", "kafka_consumer,a=", "1", "{\"a\":\"", "[1,", "x=1,", "\\\"", "\n"] {
        survives(&format!("2 MB of {piece:?}"), piece.repeat(2_000_000 / piece.len()).as_bytes());
    }
    // These make a rejection each.
    for piece in ["{}", "\"", "\"\n", "{\n", "[{}],", "=\n", "{\"a\":1},", "# x\ny"] {
        survives(&format!("20 KB of {piece:?}"), piece.repeat(20_000 / piece.len()).as_bytes());
    }
    for start in
        ["", "kafka_consumer value=\"", "cpu x=\"", "cpu,a=", "{\"algorithm_name\":\"", "[{\"a\":\"", "{\"a\":[1,"]
    {
        let input = format!("{start}{}", "y".repeat(ten_megabytes));
        let out = convert(input.as_bytes(), &Options::default());
        assert!(out.ends_with(b"\n"), "10 MB behind {start:?}: dropped silently");
        assert!(out.len() < 200_000, "10 MB behind {start:?}: kept whole");
        check_output(&out, &Options::default());
    }

    let neighbours = format!("cpu x=1 1\n{}cpu x=2 2\n", metric(&"y".repeat(ten_megabytes), 7));
    let out = String::from_utf8(convert(neighbours.as_bytes(), &Options::default())).unwrap();
    assert!(
        out.starts_with("cpu x=1 1\nalgorithmia_rejected,reason=too_large error=\"")
            && out.ends_with(" 7\ncpu x=2 2\n")
    );
    let garbage_line = format!("cpu x=1 1\n{}\ncpu x=2 2\n", "y".repeat(ten_megabytes));
    let out = String::from_utf8(convert(garbage_line.as_bytes(), &Options::default())).unwrap();
    assert!(out.starts_with("cpu x=1 1\nalgorithmia_rejected,reason=") && out.ends_with("\ncpu x=2 2\n"));
    assert_eq!(out.lines().count(), 3);
}

/// "Stall": a message of 1 MiB that comes byte by byte is not read from its beginning at every byte.
#[test]
fn byte_by_byte_takes_no_longer() {
    let payload = format!(r#"{{"algorithm_name":"a","x":"{}","y":1}}"#, "y".repeat(1_000_000));
    let expected = format!("algorithmia,algorithm_name=a x_text=\"{}\",y=1 ", "y".repeat(65_536));
    for (text, time) in [(metric(&payload, 7), "7"), (payload, "1600000000123456789")] {
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let out = convert_chunks(&bytes, &Options::default());
        assert!(String::from_utf8_lossy(&out) == format!("{expected}{time}\n"));
    }
}

// ============================================================================================================== Text

/// "Line protocol as Telegraf's own serializer writes it: in names, tag keys, tag values and field keys, tab, newline,
/// form feed and carriage return become `\t \n \f \r` and a trailing backslash never swallows the separator"
#[test]
fn names_keys_and_tags() {
    let rows = [
        // JSON, as written.
        (r"a b", r"a\ b"),
        (r"a,b", r"a\,b"),
        (r"a=b", r"a\=b"),
        (r"a\tb", r"a\tb"),
        (r"a\nb", r"a\nb"),
        (r"a\fb", r"a\fb"),
        (r"a\rb", r"a\rb"),
        (r"a\u000bb", r"a\vb"),
        (r"\n", r"\n"),
        (r"b\\", r"b"),
        (r"b\\\\", r"b"),
        (r"a\\b", r"a\b"),
        (r"a\\\\b", r"a\\b"),
        (r"a\\,b", r"a\,b"),
        (r"a\\\\ b", r"a\ b"),
        (r"a\\=b", r"a\=b"),
        (r#"a\\\"b"#, r#"a"b"#),
        (r#"\"a\""#, r#""a""#),
        (r"\\a", r"\a"),
        (r"\\n", r"\n"),
        (r"a\\\nb", r"a\\nb"),
        (r"é😀", "é😀"),
        (r"#a", "#a"),
        (r"a\u0000\u0007b", "a\0\u{7}b"),
        (r" ", r"\ "),
        (r"a'b{}[]", "a'b{}[]"),
        (r"\ud800", "\u{fffd}"),
    ];
    for (json, text) in rows {
        message(json, &format!(r#"{{"algorithm_name":"a","t":"{json}","x":1}}"#))
            .with(|o| o.kinds = vec!["t=tag".into()])
            .gives(&format!("algorithmia,algorithm_name=a,t={text} x=1 7"));
        if !text.trim_matches(['\\', 'n', ' ']).is_empty() {
            message(json, &format!(r#"{{"algorithm_name":"{json}","x":1}}"#))
                .gives(&format!("algorithmia,algorithm_name={text} x=1 7"));
        }
        message(json, &format!(r#"{{"algorithm_name":"a","{json}":1}}"#))
            .gives(&format!("algorithmia,algorithm_name=a {text}=1 7"));
    }
    input(
        "incoming tags, as Telegraf writes them",
        "kafka_consumer,a\\ b\\,c\\=d=e\\ f\\,g\\=h,t=a\\tb\\nc,q=\"x\",w=C:\\dir value=\"{\\\"algorithm_name\\\":\\\"a\\\",\\\"x\\\":1}\" 7\n",
    )
    .gives("algorithmia,a\\ b\\,c\\=d=e\\ f\\,g\\=h,algorithm_name=a,q=\"x\",t=a\\tb\\nc,w=C:\\dir x=1 7");
    message("keys that become the same", r#"{"algorithm_name":"a","x\\":1,"x":2}"#)
        .gives("algorithmia,algorithm_name=a x=2 7");
    message("a reserved key that arises so", r#"{"algorithm_name":"a","time\\":1}"#)
        .gives("algorithmia,algorithm_name=a time_field=1 7");
}

/// "in strings only `"` and `\` are escaped."
#[test]
fn strings_escape_quotes_and_backslashes() {
    field("both", r#""a\"b\\c""#).gives(r#""a\"b\\c""#);
    field("at the end", r#""\\""#).gives(r#""\\""#);
    field("several", r#""\\\\\"""#).gives(r#""\\\\\"""#);
    field("nothing else", r#""a,b=c d\te\nf\rg""#).gives("\"a,b=c d\te\nf\rg\"");
    field("a line that looks like a metric", r#""\ncpu x=1 1\n""#).gives("\"\ncpu x=1 1\n\"");
}

/// "Floats are the shortest text that reads back the same."
#[test]
fn floats_are_short() {
    for (json, text) in [
        ("8", "8"),
        ("8.0", "8"),
        ("0.2", "0.2"),
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("-0", "-0"),
        ("-0.0", "-0"),
        ("0", "0"),
        ("1e15", "1000000000000000"),
        ("1234567890123456", "1234567890123456"),
        ("1e16", "1e16"),
        ("12345678901234567890", "1.2345678901234567e19"),
        ("1e-5", "0.00001"),
        ("0.000012", "0.000012"),
        ("1e-6", "1e-6"),
        ("1.5e-7", "1.5e-7"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e308"),
        ("1e22", "1e22"),
        ("-123.456", "-123.456"),
        ("100", "100"),
        ("9007199254740993", "9007199254740992"),
        ("3.14159265358979323846", "3.141592653589793"),
    ] {
        field(json, json).gives(text);
    }
}

/// "The output of any input, fed through again, comes out unchanged." Every case above is; and so is this, with other
/// settings the second time.
#[test]
fn the_output_comes_out_unchanged() {
    let out = convert(metric(r#"{"algorithm_name":"a","x":1,"time":1}"#, 7).as_bytes(), &Options::default());
    let options =
        Options { kinds: vec!["x=tag".into()], exact_time: true, fields: 1, message: 10, ..Options::default() };
    assert_eq!(convert(&out, &options), out);
}

// =========================================================================================================== Helpers

/// One value of a payload, and what its field's value is.
struct FieldCase<'a>(&'a str, &'a str);

fn field<'a>(name: &'a str, json: &'a str) -> FieldCase<'a> {
    FieldCase(name, json)
}

impl FieldCase<'_> {
    fn gives(self, value: &str) {
        let key = if value.starts_with('"') { "x_text" } else { "x" };
        message(self.0, &format!(r#"{{"algorithm_name":"a","x":{}}}"#, self.1))
            .gives(&format!("algorithmia,algorithm_name=a {key}={value} 7"));
    }
}

fn wide(count: usize, length: usize) -> String {
    let members = (0..count).map(|n| format!(",\"metric_{n}\":\"{}\"", "y".repeat(length)));
    format!("{{\"algorithm_name\":\"a\"{}}}", members.collect::<String>())
}

fn wide_fields(count: usize, length: usize) -> String {
    (0..count).map(|n| format!("metric_{n}_text=\"{}\"", "y".repeat(length))).collect::<Vec<_>>().join(",")
}
