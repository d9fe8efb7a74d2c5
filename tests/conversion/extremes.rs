//! JSON at its extremes, each by its name, as JSONTestSuite has them for parsers: what is promised for it comes out, within
//! Telegraf's line protocol and as plain JSON, however the input is cut.

use fixtures::telegraf::{metric_bytes, quoted};
use reference::case::{Case, bytes_input, input, message};
use reference::lines::decode;
use reference::product::{check_output, convert, convert_chunks, converter};
use reference::{Format, Line, NOW, Options, Value};

// ============================================================================================================ Nesting

fn arrays(depth: usize) -> String {
    format!(r#"{{"algorithm_name":"a","x":{}1{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
}

fn objects(depth: usize) -> String {
    format!(r#"{{"algorithm_name":"a","x":{}1{}}}"#, r#"{"y":"#.repeat(depth - 1), "}".repeat(depth - 1))
}

#[test]
fn nesting_up_to_64_levels_is_flattened() {
    for depth in [1, 10, 63, 64] {
        point("arrays", &arrays(depth), &format!("x{}=1", "_0".repeat(depth - 1)));
        point("objects", &objects(depth), &format!("x{}=1", "_y".repeat(depth - 1)));
    }
}

#[test]
fn nesting_of_65_levels_and_more_is_too_large() {
    for depth in [65, 1000, 10_000] {
        for text in [arrays(depth), objects(depth)] {
            rejected("too_large", &text);
        }
    }
}

#[test]
fn nesting_that_never_ends_is_no_json_or_too_large() {
    for depth in [10, 63] {
        rejected("invalid_json", &format!(r#"{{"algorithm_name":"a","x":{}"#, "[".repeat(depth - 1)));
        rejected("invalid_json", &format!(r#"{{"algorithm_name":"a","x":{}"#, r#"{"y":"#.repeat(depth - 1)));
    }
    // Both are wrong with it; the levels come first.
    let open = format!(r#"{{"algorithm_name":"a","x":{}"#, "[".repeat(1000));
    bytes_input("open and too deep", &metric_bytes(open.as_bytes(), 7)).gives(&rejection("too_large", &open, 7));
}

/// A parser that calls itself for each level overflows its stack here, and takes the process with it.
#[test]
fn nesting_of_a_million_levels_takes_no_stack() {
    const STACK: usize = 2 * 1024 * 1024;
    let depth = 1_000_000;
    let texts = [
        arrays(depth),
        objects(depth),
        "[".repeat(depth),
        r#"{"a":"#.repeat(depth),
        r#"[{"a":"#.repeat(depth),
        "[".repeat(depth) + &"]".repeat(depth),
    ];
    for text in texts {
        for (format, input) in [(Format::Influx, metric_bytes(text.as_bytes(), 7)), (Format::Json, text.into_bytes())] {
            // With the limits as they are, without one to the size, and with as many levels as can be asked for.
            for (message, nesting) in [(1 << 20, 64), (16 << 20, 64), (16 << 20, 1000)] {
                let options = Options { input: format, message, nesting, ..Options::default() };
                let mut converter = converter(&options);
                let input = input.clone();
                let work = move || {
                    let mut out = vec![];
                    for chunk in input.chunks(65_536) {
                        converter.push(chunk, &mut out, &mut ());
                    }
                    converter.finish(&mut out, &mut ());
                    out
                };
                let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap();
                let out = thread.join().expect("no panic");
                assert!(out.starts_with(b"algorithmia_rejected,reason="), "{:.200}", String::from_utf8_lossy(&out));
                check_output(&out, &Options::default());
            }
        }
    }
}

// ============================================================================================================ Numbers

#[test]
fn numbers_beyond_a_float_make_no_field() {
    for number in [
        "1e400".to_owned(),
        "-1e400".to_owned(),
        "1E+309".to_owned(),
        "1.7976931348623159e308".to_owned(),
        "1e99999999999999999999999999999".to_owned(),
        "0.0000000001e400".to_owned(),
        "9".repeat(400),
        format!("-{}", "9".repeat(400)),
        format!("{}.5e0", "9".repeat(400)),
    ] {
        field("bare", &number, None);
        text("as a string", &number);
    }
}

#[test]
fn numbers_too_small_for_a_float_are_zero() {
    for (number, zero) in
        [("1e-400", "0"), ("-1e-400", "-0"), ("1e-99999999999999999999999999", "0"), ("0e99999999999999999999", "0")]
    {
        field("bare", number, Some(zero));
        // A string is a number only if nothing of it is lost.
        if number.starts_with('0') {
            field("as a string", &format!("\"{number}\""), Some(zero));
        } else {
            text("as a string", number);
        }
    }
    field("400 digits behind the point", &format!("0.{}1", "0".repeat(400)), Some("0"));
    field("the smallest there is", "5e-324", Some("5e-324"));
    field("less than half of it", "2e-324", Some("0"));
}

#[test]
fn numbers_with_hundreds_of_digits_are_the_nearest_float() {
    field("300 zeros", &format!("1{}", "0".repeat(300)), Some("1e300"));
    field("as many behind the point", &format!("1.{}1", "0".repeat(300)), Some("1"));
    field("400 digits and an exponent", &format!("{}e-400", "1".repeat(400)), Some("0.1111111111111111"));
    field("400 zeros and an exponent", &format!("0.{}1e401", "0".repeat(400)), Some("1"));
    field("the largest there is", "1.7976931348623157e308", Some("1.7976931348623157e308"));
}

#[test]
fn integers_around_what_64_bits_hold_are_floats() {
    for (number, float, is_exact) in [
        ("9223372036854775806", "9.223372036854776e18", false),
        ("9223372036854775807", "9.223372036854776e18", false),
        ("9223372036854775808", "9.223372036854776e18", false),
        ("9223372036854775809", "9.223372036854776e18", false),
        ("-9223372036854775807", "-9.223372036854776e18", false),
        ("-9223372036854775808", "-9.223372036854776e18", false),
        ("-9223372036854775809", "-9.223372036854776e18", false),
        ("18446744073709551615", "1.8446744073709552e19", false),
        ("18446744073709551616", "1.8446744073709552e19", false),
        ("9007199254740992", "9007199254740992", true),
        ("9007199254740993", "9007199254740992", false),
    ] {
        field("bare", number, Some(float));
        // An id, of which a float would lose digits.
        if is_exact {
            field("as a string", &format!("\"{number}\""), Some(float));
        } else {
            text("as a string", number);
        }
    }
}

#[test]
fn zero_keeps_its_sign() {
    for (number, text) in [("0", "0"), ("-0", "-0"), ("0.0", "0"), ("-0.0", "-0"), ("-0e5", "-0"), ("0E-7", "0")] {
        field("bare", number, Some(text));
    }
}

#[test]
fn exponents_in_every_form() {
    for number in ["1e5", "1E5", "1e+5", "1E+5", "1e05", "1e0005", "10e4", "0.1e6", "1000000e-1", "1.0e5", "100000.0"] {
        field("bare", number, Some("100000"));
        field("as a string", &format!("\"{number}\""), Some("100000"));
    }
}

/// What is no number in JSON makes no JSON of the message; in quotes it is text like other text.
#[test]
fn numbers_that_json_does_not_have() {
    for number in [
        "01", "-01", "00", "00.5", "1.", "-1.", "1.e1", ".5", "-.5", ".", "+1", "+0", "++1", "--1", "-+1", "-", "- 1",
        "1e", "1e+", "1e-", "1E1.5", "1ee5", "e5", "0x1F", "0b1", "0o7", "1_000", "1'000", "1 000", "1,5", "1.2.3",
        "1f", "1L", "1n", "1d", "½", "∞", "１", "٣", "1\u{a0}", "$1", "1%",
    ] {
        rejected("invalid_json", &payload(number));
        if number.trim_matches(|c: char| !c.is_ascii_digit()) != "1\u{a0}" {
            text("as a string", number);
        }
    }
}

#[test]
fn nan_and_infinity_in_their_spellings() {
    for token in [
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "NAN",
        "-NaN",
        "+NaN",
        "inf",
        "Inf",
        "-inf",
        "+Infinity",
        "INFINITY",
        "infinity",
    ] {
        field("bare", token, None);
        field("as a string", &format!("\"{token}\""), None);
    }
    for token in [
        "NaN0",
        "Na",
        "N",
        "Infinit",
        "-Infinit",
        "--Infinity",
        "- Infinity",
        "-I",
        "1.#INF",
        "1.#QNAN",
        "NaN.0",
        "Infinity0",
    ] {
        rejected("invalid_json", &payload(token));
        text("as a string", token);
    }
    point("as a key they are text", r#"{"algorithm_name":"a","NaN":1,"-Infinity":2}"#, "NaN=1,-Infinity=2");
    rejected("invalid_json", r#"{"algorithm_name":"a",NaN:1}"#);
}

// ========================================================================================================= Surrogates

/// A half that has no other half is U+FFFD, as with Invalid UTF-8 that is kept: the rest of the point is worth more than it.
#[test]
fn lone_surrogates_are_replaced() {
    for (text, becomes) in [
        (r"\ud800", "\u{fffd}"),
        (r"\udbff", "\u{fffd}"),
        (r"\udc00", "\u{fffd}"),
        (r"\udfff", "\u{fffd}"),
        (r"\udc00\ud800", "\u{fffd}\u{fffd}"),
        (r"\ud800\ud800", "\u{fffd}\u{fffd}"),
        (r"\udc00\udc00", "\u{fffd}\u{fffd}"),
        (r"\ud800\u0041", "\u{fffd}A"),
        (r"\ud800A", "\u{fffd}A"),
        (r"\ud800\n", "\u{fffd}\n"),
        (r"\ud800\ud83d\ude00", "\u{fffd}😀"),
        (r"\uD83D\uDE00", "😀"),
        (r"\udbff\udfff", "\u{10ffff}"),
        (r"\ud800\udc00", "\u{10000}"),
        (r"\ud7ff\ue000", "\u{d7ff}\u{e000}"),
        (r"\uffff\ufffe", "\u{ffff}\u{fffe}"),
    ] {
        field("in a string", &format!("\"{text}\""), Some(&format!("\"{becomes}\"")));
        if !becomes.contains('\n') {
            let (key, name) = (format!(r#"{{"algorithm_name":"a","{text}":1}}"#), format!("{becomes}=1"));
            point("in a key", &key, &name);
            message("in a tag", &format!(r#"{{"algorithm_name":"a{text}","x":1}}"#))
                .gives(&format!("algorithmia,algorithm_name=a{becomes} x=1 7"));
        }
    }
}

#[test]
fn surrogates_that_are_cut_short_are_no_json() {
    for text in [r"\ud8", r"\ud83d\u", r"\ud83d\ude", r"\ud83d\", r"\u", r"\ud83g", r"\uD83D\uDE0G", r"\u{1F600}"] {
        rejected("invalid_json", &payload(&format!("\"{text}\"")));
    }
}

// ====================================================================================================== Invalid UTF-8

/// What no UTF-8 may hold, with what Unicode has put in its place.
const BROKEN: [(&str, &[u8]); 14] = [
    ("two bytes for an ASCII character", b"\xc0\xaf"),
    ("two bytes for NUL", b"\xc0\x80"),
    ("three bytes for an ASCII character", b"\xe0\x80\xaf"),
    ("four bytes for an ASCII character", b"\xf0\x80\x80\xaf"),
    ("four bytes for what fits in three", b"\xf0\x8f\xbf\xbf"),
    ("a surrogate", b"\xed\xa0\x80"),
    ("a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("beyond the last character", b"\xf4\x90\x80\x80"),
    ("five bytes", b"\xf8\x88\x80\x80\x80"),
    ("the start of two bytes", b"\xc3"),
    ("the start of three bytes", b"\xe2\x82"),
    ("the start of four bytes", b"\xf0\x9f\x98"),
    ("a byte that follows none", b"\x80"),
    ("bytes that are in no UTF-8", b"\xff\xfe"),
];

#[test]
fn invalid_utf8_anywhere_in_a_message() {
    let around: [(&[u8], &[u8]); 6] = [
        (br#"{"algorithm_name":"a","x":""#, br#""}"#),
        (br#"{"algorithm_name":"a","x":"a"#, br#"b"}"#),
        (br#"{"algorithm_name":"a","k"#, br#"":1}"#),
        (br#"{"algorithm_name":""#, br#"","x":1}"#),
        (br#"{"algorithm_name":"a","x":"#, b"}"),
        (b"", br#"{"algorithm_name":"a","x":1}"#),
    ];
    for (name, bytes) in BROKEN {
        for (before, behind) in around {
            let text = [before, bytes, behind].concat();
            let kept = String::from_utf8_lossy(&text).into_owned();
            let line = |time: i64| rejection("invalid_json", &kept, time);
            // In front of an object it is skipped.
            let point = "algorithmia,algorithm_name=a x=1 7".to_owned();
            bytes_input(name, &metric_bytes(&text, 7)).gives(&if before.is_empty() { point } else { line(7) });
            bytes_input(name, &text).with(|o| o.input = Format::Json).gives(&line(NOW));
        }
    }
}

/// What passes through is nobody's business; what becomes a part of a point is mended.
#[test]
fn invalid_utf8_in_telegrafs_line_protocol() {
    let good = br#"{\"algorithm_name\":\"a\",\"x\":1}"#;
    for (name, bytes) in BROKEN {
        let lossy = String::from_utf8_lossy(bytes);
        let other =
            [b"cpu".as_slice(), bytes, b",t", bytes, b"=", bytes, b" f", bytes, b"=\"", bytes, b"\" 1\n"].concat();
        assert_eq!(convert(&other, &Options::default()), other, "{name}: it passes through");
        let tagged = [b"kafka_consumer,t=".as_slice(), bytes, b" value=\"", good, b"\" 7\n"].concat();
        bytes_input(name, &tagged).gives(&format!("algorithmia,algorithm_name=a,t={lossy} x=1 7"));
    }
}

// ==================================================================================================== Duplicate keys

#[test]
fn the_last_of_duplicate_keys_counts() {
    for (members, fields) in [
        (r#""x":1,"x":1,"y":1"#, "x=1,y=1"),
        (r#""x":1,"x":2,"y":1"#, "x=2,y=1"),
        (r#""x":1,"y":1,"x":2"#, "y=1,x=2"),
        (r#""x":1,"x":2,"x":3,"x":4,"y":1"#, "x=4,y=1"),
        (r#""x":1,"\u0078":2,"y":1"#, "x=2,y=1"),
        (r#""\u0078":1,"x":2,"y":1"#, "x=2,y=1"),
        (r#""é":1,"\u00e9":2,"\u00E9":3"#, "é=3"),
        (r#""😀":1,"\ud83d\ude00":2"#, "😀=2"),
        (r#""\ud800":1,"\udc00":2"#, "\u{fffd}=2"),
        (r#""x":1,"x":"text","y":1"#, "x_text=\"text\",y=1"),
        (r#""x":"text","x":1,"y":1"#, "x=1,y=1"),
        (r#""x":1,"x":true,"y":1"#, "x=1,y=1"),
        (r#""x":1,"x":null,"y":1"#, "y=1"),
        (r#""x":null,"x":1,"y":1"#, "x=1,y=1"),
        (r#""x":1,"x":NaN,"y":1"#, "y=1"),
        (r#""x":1,"x":1e400,"y":1"#, "y=1"),
        (r#""x":{"a":1},"x":{"b":2}"#, "x_a=1,x_b=2"),
        (r#""x":{"a":1},"x":{"a":2}"#, "x_a=2"),
        (r#""x":{"a":1,"a":2}"#, "x_a=2"),
        (r#""x":{"a":1},"x_a":2"#, "x_a=2"),
        (r#""x_a":1,"x":{"a":2}"#, "x_a=2"),
        (r#""x":[1,2],"x_0":3"#, "x_1=2,x_0=3"),
        (r#""x":{"0":1},"x":[2]"#, "x_0=2"),
        (r#""a":{"b_c":1},"a_b":{"c":2}"#, "a_b_c=2"),
        (r#""x":1,"_x":2,"__x":3"#, "x=3"),
        (r#""a b":1,"a\u0020b":2"#, r"a\ b=2"),
    ] {
        point(members, &format!(r#"{{"algorithm_name":"a",{members}}}"#), fields);
    }
}

#[test]
fn duplicates_of_the_keys_that_have_a_meaning() {
    point("the name", r#"{"algorithm_name":"b","algorithm_name":"a","x":1}"#, "x=1");
    rejected("missing_algorithm_name", r#"{"algorithm_name":"a","x":1,"algorithm_name":null}"#);
    rejected("missing_algorithm_name", r#"{"algorithm_name":"a","x":1,"algorithm_name":""}"#);
    point(
        "the owner, with null last",
        r#"{"algorithm_name":"a","algorithm_owner":"o","x":1,"algorithm_owner":null}"#,
        "x=1",
    );
    message("the time", r#"{"algorithm_name":"a","x":1,"time":5,"time":1613780514867231000}"#)
        .with(|o| o.exact_time = true)
        .gives("algorithmia,algorithm_name=a x=1 1613780514867231000");
    point("the request", r#"{"algorithm_name":"a","request_id":"r","x":1,"request_id":7}"#, r#"x=1,request_id="7""#);
}

// ========================================================================================== Control characters, BOM

#[test]
fn control_characters_within_strings_have_to_be_escaped() {
    for code in 0..0x20_u32 {
        let raw = char::from_u32(code).unwrap();
        let quoted = format!("\"a{raw}b\"");
        rejected("invalid_json", &payload(&quoted));
        field("escaped", &format!(r#""a\u{code:04x}b""#), Some(&quoted));
    }
    for raw in ['\u{7f}', '\u{80}', '\u{9f}', '\u{ad}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{feff}', '\u{10ffff}'] {
        field("these need no escape", &format!("\"a{raw}b\""), Some(&format!("\"a{raw}b\"")));
    }
}

/// Telegraf's parser takes no break in a key, so it is spelled out; all else is kept.
#[test]
fn control_characters_within_keys() {
    for code in 0..0x20_u32 {
        let raw = char::from_u32(code).unwrap();
        rejected("invalid_json", &format!("{{\"algorithm_name\":\"a\",\"k{raw}k\":1}}"));
        let spelled = match raw {
            '\t' => r"\t".to_owned(),
            '\n' => r"\n".to_owned(),
            '\r' => r"\r".to_owned(),
            '\u{b}' => r"\v".to_owned(),
            '\u{c}' => r"\f".to_owned(),
            raw => raw.to_string(),
        };
        point("a key", &format!(r#"{{"algorithm_name":"a","k\u{code:04x}k":1}}"#), &format!("k{spelled}k=1"));
        message("a tag", &format!(r#"{{"algorithm_name":"a\u{code:04x}b","x":1}}"#))
            .gives(&format!("algorithmia,algorithm_name=a{spelled}b x=1 7"));
    }
}

#[test]
fn nul_bytes_around_and_within_a_message() {
    message("around, where Telegraf trims them", "\0\0{\"algorithm_name\":\"a\",\"x\":1}\0")
        .gives("algorithmia,algorithm_name=a x=1 7");
    for text in ["{\"algorithm_name\":\"a\",\0\"x\":1}", "{\0}", "{\"algorithm_name\":\"a\",\"x\":\0}"] {
        rejected("invalid_json", text);
    }
}

/// RFC 8259 has nobody write one into a text, and some do in front of it.
#[test]
fn byte_order_marks() {
    let good = r#"{"algorithm_name":"a","x":1}"#;
    let marked = format!("\u{feff}{good}");
    message("in front of a message", &marked).gives("algorithmia,algorithm_name=a x=1 7");
    plain("in front of a file, where editors put it", &marked)
        .gives(&format!("algorithmia,algorithm_name=a x=1 {NOW}"));
    let trailed = format!("{good}\u{feff}");
    message("behind a message", &trailed).gives(&rejection("invalid_json", &trailed, 7));
    rejected("invalid_json", "{\u{feff}\"algorithm_name\":\"a\",\"x\":1}");
    rejected("invalid_json", "{\"algorithm_name\":\"a\",\"x\":\u{feff}1}");
    point("in a key", "{\"algorithm_name\":\"a\",\"\u{feff}x\":1}", "\u{feff}x=1");
    for bytes in [b"\xff\xfe{\0}\0".as_slice(), b"\xfe\xff\0{\0}"] {
        let kept = String::from_utf8_lossy(bytes).into_owned();
        bytes_input("UTF-16", &metric_bytes(bytes, 7)).gives(&rejection(
            "invalid_json",
            kept.trim_end_matches('\0'),
            7,
        ));
    }
}

// ==================================================================================================== Empty and long

#[test]
fn empty_things() {
    rejected("no_fields", r#"{"algorithm_name":"a","":1}"#);
    rejected("no_fields", r#"{"algorithm_name":"a","x":{},"y":[],"z":[{},[[]]]}"#);
    rejected("missing_algorithm_name", "{}");
    rejected("missing_algorithm_name", r#"{"":""}"#);
    rejected("missing_algorithm_name", r#"{"algorithm_name":"","x":1}"#);
    rejected("missing_algorithm_name", r#"{"algorithm_name":{},"x":1}"#);
    message("an array of nothing", "[]").gives(&rejection("not_an_object", "[]", 7));
    message("an array of an empty array", "[[]]").gives(&rejection("not_an_object", "[]", 7));
    message("nothing", "").gives(&rejection("invalid_json", "", 7));
    message("white space", " \t\r\n ").gives(&rejection("invalid_json", "", 7));
    for nothing in ["", " ", "\n\n", "\r\n \t"] {
        input("plain: nothing", nothing).with(|o| o.input = Format::Json).gives_nothing();
    }
    point("an empty string", r#"{"algorithm_name":"a","x":""}"#, "x_text=\"\"");
    point("empty keys within", r#"{"algorithm_name":"a","x":{"":1,"y":{"":2}}}"#, "x_=1,x_y_=2");
}

/// What InfluxDB takes of a series and one of its fields together is 65,535 bytes.
#[test]
fn long_keys() {
    let text = |length: usize| format!(r#"{{"algorithm_name":"a","{}":1}}"#, "k".repeat(length));
    let most = 65_535 - "algorithmia,algorithm_name=a".len() - 4;
    point("as long as may be", &text(most), &format!("{}=1", "k".repeat(most)));
    for length in [most + 1, 65_534, 65_535, 65_536, 200_000] {
        rejected("too_large", &text(length));
    }
    let escaped = format!(r#"{{"algorithm_name":"a","{}":1}}"#, r"\u006b".repeat(most));
    point("what counts is the text", &escaped, &format!("{}=1", "k".repeat(most)));
    let spaces = |length: usize| format!(r#"{{"algorithm_name":"a","{}k":1}}"#, " ".repeat(length));
    point("and its escapes in line protocol", &spaces(most / 2), &format!("{}k=1", r"\ ".repeat(most / 2)));
    rejected("too_large", &spaces(most / 2 + 1));
    let nested = format!(r#"{{"algorithm_name":"a","{k}":{{"{k}":1}}}}"#, k = "k".repeat(most / 2 + 1));
    rejected("too_large", &nested);
}

#[test]
fn long_strings_are_cut_before_the_character_that_does_not_fit() {
    for character in ["é", "€", "😀"] {
        for over in 0..=character.len() {
            let start = "y".repeat(65_536 - over);
            let fits = over == character.len();
            let kept = if fits { format!("{start}{character}") } else { start.clone() };
            point("a character", &payload(&format!("\"{start}{character}z\"")), &format!("x_text=\"{kept}\",y=1"));
        }
    }
    let start = "y".repeat(65_534);
    point("a surrogate pair", &payload(&format!(r#""{start}\ud83d\ude00""#)), &format!("x_text=\"{start}\",y=1"));
    point(
        "a quote, which takes two bytes in the line",
        &payload(&format!(r#""{start}y\"z""#)),
        &format!("x_text=\"{start}y\\\"\",y=1"),
    );
}

// ============================================================================================ What is almost JSON

#[test]
fn what_is_almost_json_is_no_json() {
    for text in [
        // Commas.
        r#"{"algorithm_name":"a","x":1,}"#,
        r#"{"algorithm_name":"a",,"x":1}"#,
        r#"{,"algorithm_name":"a","x":1}"#,
        r#"{"algorithm_name":"a" "x":1}"#,
        r#"{"algorithm_name":"a","x":[1,]}"#,
        r#"{"algorithm_name":"a","x":[,1]}"#,
        r#"{"algorithm_name":"a","x":[1,,2]}"#,
        r#"{"algorithm_name":"a","x":[1 2]}"#,
        r#"{"algorithm_name":"a";"x":1}"#,
        // Colons.
        r#"{"algorithm_name":"a","x"}"#,
        r#"{"algorithm_name":"a","x":}"#,
        r#"{"algorithm_name":"a","x"::1}"#,
        r#"{"algorithm_name":"a","x"=1}"#,
        r#"{"algorithm_name":"a","x":["y":1]}"#,
        // Comments.
        r#"{"algorithm_name":"a",/* one */"x":1}"#,
        r#"{"algorithm_name":"a","x":1/**/}"#,
        r##"{"algorithm_name":"a","x":1 # one }"##,
        r#"{"algorithm_name":"a","x":1 // one }"#,
        // Quotes.
        "{'algorithm_name':'a','x':1}",
        r#"{algorithm_name:"a","x":1}"#,
        r#"{"algorithm_name":"a","x":'1'}"#,
        r#"{"algorithm_name":"a","x":“1”}"#,
        r#"{"algorithm_name":"a","x":`1`}"#,
        r#"{"algorithm_name":"a","x":b"1"}"#,
        r#"{"algorithm_name":"a","x":"1}"#,
        r#"{"algorithm_name":"a","x":"1"2}"#,
        r#"{"algorithm_name":"a",1:1}"#,
        r#"{"algorithm_name":"a",null:1}"#,
        r#"{"algorithm_name":"a",["x"]:1}"#,
        // Escapes.
        r#"{"algorithm_name":"a","x":"\a"}"#,
        r#"{"algorithm_name":"a","x":"\x41"}"#,
        r#"{"algorithm_name":"a","x":"\0"}"#,
        r#"{"algorithm_name":"a","x":"\'"}"#,
        r#"{"algorithm_name":"a","x":"\U0041"}"#,
        r#"{"algorithm_name":"a","x":"\u00"}"#,
        r#"{"algorithm_name":"a","x":"\u 041"}"#,
        r#"{"algorithm_name":"a","x":"\u+041"}"#,
        r#"{"algorithm_name":"a","x":"\"}"#,
        r#"{"algorithm_name":"a","x":"\é"}"#,
        r#"{"algorithm_name":"a",\u0022x":1}"#,
        // Names.
        r#"{"algorithm_name":"a","x":True}"#,
        r#"{"algorithm_name":"a","x":TRUE}"#,
        r#"{"algorithm_name":"a","x":tru}"#,
        r#"{"algorithm_name":"a","x":truee}"#,
        r#"{"algorithm_name":"a","x":nul}"#,
        r#"{"algorithm_name":"a","x":None}"#,
        r#"{"algorithm_name":"a","x":undefined}"#,
        r#"{"algorithm_name":"a","x":true false}"#,
    ] {
        rejected("invalid_json", text);
    }
}

#[test]
fn brackets_that_do_not_match() {
    for text in [
        "{",
        "[",
        "}",
        "]",
        "{{",
        "{}}",
        "{]",
        "[}",
        "[{]",
        "[{}",
        "{[}",
        "[[[",
        "]]]",
        "][",
        "}{",
        "{\"x\":[}",
        r#"{"algorithm_name":"a","x":1"#,
        r#"{"algorithm_name":"a","x":1]"#,
        r#"{"algorithm_name":"a","x":1}}"#,
        r#"{"algorithm_name":"a","x":[1}"#,
        r#"{"algorithm_name":"a","x":[1}]"#,
        r#"{"algorithm_name":"a","x":{"y":1]}"#,
    ] {
        if text.starts_with('[') {
            // An array's items are converted as they are read, and what is wrong with it makes rejections beside theirs.
            for input in [metric_bytes(text.as_bytes(), 7), text.as_bytes().to_vec()] {
                let out = convert(&input, &Options::default());
                check_output(&out, &Options::default());
                let out = String::from_utf8_lossy(&out);
                assert!(out.contains("algorithmia_rejected,reason=invalid_json "), "{text} gave {out}");
                assert!(out.lines().all(|line| line.starts_with("algorithmia_rejected,")), "{text} gave {out}");
            }
            continue;
        }
        message(text, text).gives(&rejection("invalid_json", text, 7));
        // In plain JSON what is whole before a brace too many is read.
        if !text.ends_with("}}") {
            plain_goes_on("invalid_json", text);
        }
    }
    bytes_input("an array closed twice", &metric_bytes(b"[]]", 7)).gives(&format!(
        "{}\n{}",
        rejection("not_an_object", "[]", 7),
        rejection("invalid_json", "]", 8)
    ));
}

#[test]
fn values_one_behind_the_other() {
    let (one, two) = (r#"{"algorithm_name":"a","x":1}"#, r#"{"algorithm_name":"b","x":2}"#);
    for between in ["", " ", "\n", "\0"] {
        message("in a message", &format!("{one}{between}{two}"))
            .gives("algorithmia,algorithm_name=a x=1 7\nalgorithmia,algorithm_name=b x=2 8");
    }
    for between in [",", ";"] {
        let text = format!("{one}{between}{two}");
        message("in a message", &text).gives(&rejection("invalid_json", &text, 7));
    }
    for between in ["", " ", "\t", "\n", "\r\n", "\n\n"] {
        input("plain", &format!("{one}{between}{two}"))
            .with(|o| o.input = Format::Json)
            .gives(&format!("algorithmia,algorithm_name=a x=1 {NOW}\nalgorithmia,algorithm_name=b x=2 {}", NOW + 1));
    }
    for scalar in ["1", "\"text\"", "true", "null", "NaN", "-Infinity", "1e400", "\"\\ud800\""] {
        rejected("not_an_object", scalar);
    }
}

#[test]
fn white_space_of_other_kinds() {
    for space in [
        "\u{b}", "\u{c}", "\u{85}", "\u{a0}", "\u{1680}", "\u{2003}", "\u{200b}", "\u{2028}", "\u{2029}", "\u{202f}",
        "\u{205f}", "\u{2060}", "\u{3000}",
    ] {
        for text in [
            format!("{{{space}\"algorithm_name\":\"a\",\"x\":1}}"),
            format!("{{\"algorithm_name\"{space}:\"a\",\"x\":1}}"),
            format!("{{\"algorithm_name\":\"a\",\"x\":{space}1}}"),
            format!("{{\"algorithm_name\":\"a\",\"x\":1{space}}}"),
            format!("{{\"algorithm_name\":\"a\",\"x\":[1,{space}2]}}"),
        ] {
            rejected("invalid_json", &text);
        }
    }
    let spaced = " \t\r\n{ \t\r\n\"algorithm_name\" \t\r\n: \t\r\n\"a\" \t\r\n, \t\r\n\"x\" \t\r\n: \t\r\n[ \t\r\n1 \t\r\n] \t\r\n} \t\r\n";
    point("the four that JSON has", spaced, "x_0=1");
}

// ============================================================================================================ Helpers

/// A payload with this value, and another key behind it.
fn payload(value: &str) -> String {
    format!(r#"{{"algorithm_name":"a","x":{value},"y":1}}"#)
}

/// The value makes a field of this text, or none.
fn field(name: &str, value: &str, text: Option<&str>) {
    let key = if text.is_some_and(|text| text.starts_with('"')) { "x_text" } else { "x" };
    let fields = text.map_or("y=1".to_owned(), |text| format!("{key}={text},y=1"));
    point(name, &payload(value), &fields);
}

/// The value as a string makes a text field.
fn text(name: &str, value: &str) {
    point(name, &payload(&format!("\"{value}\"")), &format!("x_text=\"{value}\",y=1"));
}

/// The message makes a point with these fields.
fn point(name: &str, text: &str, fields: &str) {
    let line = |time: i64| format!("algorithmia,algorithm_name=a {fields} {time}");
    message(name, text).gives(&line(7));
    plain(name, text).gives(&line(NOW));
}

/// The message is rejected for this reason, and nothing behind it.
fn rejected(reason: &str, text: &str) {
    message(reason, text).gives(&rejection(reason, text, 7));
    plain_goes_on(reason, text);
}

fn plain(name: &str, text: &str) -> Case {
    input(name, text).with(|options| options.input = Format::Json)
}

/// Plain JSON is cut into messages where no metric says how long they are, so a broken one may come in parts. But the first of
/// them is rejected for this reason, nothing of it is dropped, and what comes later is read as if nothing had been: where its brackets are
/// open, that is the line behind the next.
fn plain_goes_on(reason: &str, text: &str) {
    let options = Options { input: Format::Json, ..Options::default() };
    let next = r#"{"algorithm_name":"next","x":1}"#;
    let whole = format!("{text}\n{next}\n{next}\n");
    let out = convert(whole.as_bytes(), &options);
    check_output(&out, &options);
    let shown = String::from_utf8_lossy(&out);
    let lines: Vec<_> = reference::lines::split(&out)
        .expect("checked")
        .into_iter()
        .map(|line| decode(std::str::from_utf8(line).expect("UTF-8")))
        .collect();
    let (last, before) = lines.split_last().expect("a line at least");
    assert_eq!(last.tags.get("algorithm_name").map(String::as_str), Some("next"), "{text:.300?} gave {shown:.500}");
    assert_eq!(before[0].tags.get("reason").map(String::as_str), Some(reason), "{text:.300?} gave {shown:.500}");
    let is_next = |line: &Line| line.tags.get("algorithm_name").is_some_and(|name| name == "next");
    assert!(lines.iter().filter(|line| is_next(line)).count() <= 2);
    let payloads: String = before
        .iter()
        .filter_map(|line| match line.fields.as_slice() {
            [(key, Value::String(payload))] if key == "payload" => Some(payload.as_str()),
            _ => None,
        })
        .collect();
    let squeezed = |text: &str| text.replace([' ', '\t', '\r', '\n', '\0'], "");
    if text.len() <= 60 * 1024 {
        let lost = if before.iter().any(is_next) { "" } else { next };
        assert_eq!(squeezed(&payloads), squeezed(&format!("{text}{lost}")), "nothing of it is dropped: {shown:.500}");
    }
    for size in [1, 7] {
        if whole.len() / size < 100_000 {
            let cut = convert_chunks(&whole.as_bytes().chunks(size).collect::<Vec<_>>(), &options);
            assert!(cut == out, "{text:.300?} in parts of {size}: {:.500}", String::from_utf8_lossy(&cut));
        }
    }
}

/// The line that a rejected message becomes; the error's text may be any.
fn rejection(reason: &str, payload: &str, time: i64) -> String {
    let most = payload.floor_char_boundary(60 * 1024);
    format!("algorithmia_rejected,reason={reason} error=\"*\",payload={} {time}", quoted(&payload[..most]))
}
