use super::*;
use crate::observe::event::Event;

/// The times that points have from their payloads.
struct Times(Vec<Option<i64>>);

impl Observer for Times {
    fn observe(&mut self, event: Event<'_>) {
        if let Event::Converted { time } = event {
            self.0.push(time);
        }
    }
}

#[test]
fn a_converted_point_tells_of_a_time_that_is_its_payloads() {
    for (exact_time, filled) in [(true, 1_613_780_514_867_231_000), (false, 1_613_780_514_867_231_593)] {
        let mut converter = Converter::new(Settings { exact_time, ..Settings::default() }).unwrap();
        let (mut out, mut times) = (Vec::new(), Times(Vec::new()));
        let id = "req-9f5345b4-a1cd-431c-a43a-bd2a06f4a6f4";
        for time in [
            r#""time":"2021-02-20T00:21:54.867231""#,
            r#""timestamp":1613780514867231"#,
            r#""time":"yesterday","timestamp":1613780514867231"#,
            r#""time":"yesterday""#,
            r#""time":null"#,
            r#""x":2"#,
        ] {
            let message = format!(r#"{{"algorithm_name":"a","x":1,"request_id":"{id}",{time}}}"#);
            let metric = fixtures::telegraf::metric(&message, 1_613_780_514_867_231_999);
            converter.push(metric.as_bytes(), &mut out, &mut times);
        }
        assert_eq!(times.0, [Some(filled), Some(filled), Some(filled), None, None, None]);
        let written = String::from_utf8(out).unwrap();
        assert_eq!(written.matches(&format!(" {filled}\n")).count(), 3, "{written}");
    }
}
