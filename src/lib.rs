//! Turns the messages of Algorithmia Insights into InfluxDB points.
//!
//! A [`Converter`] takes the metrics that Telegraf's kafka_consumer makes of Kafka messages, or the messages
//! themselves, in chunks of any size, and gives line protocol. It does no input or output of its own.
//!
//! ```
//! use telegraf_algorithmia::{Converter, Settings};
//!
//! let mut converter = Converter::new(Settings { exact_time: true, ..Settings::default() })?;
//! let mut out = Vec::new();
//! let message = r#"{"algorithm_name":"credit_card_approval","risk_score":0.2,"time":"2021-02-20T00:21:54.867231"}"#;
//! converter.push(message.as_bytes(), &mut out, &mut ());
//! converter.finish(&mut out, &mut ());
//! assert_eq!(
//!     String::from_utf8(out)?,
//!     "algorithmia,algorithm_name=credit_card_approval risk_score=0.2 1613780514867231000\n",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Metrics pass the other way round: what is no message goes out as it came in, and what cannot be converted becomes
//! a point of the measurement `algorithmia_rejected`. An [`Observer`] is told of all that happens on the way, and
//! [`Counts`] is one that counts. What is there as a whole, such as a file, several threads can convert: see [`Parallel`].
//!
//! ```
//! use telegraf_algorithmia::{Converter, Counts, Settings};
//!
//! let mut converter = Converter::new(Settings::default())?;
//! let (mut out, mut counts) = (Vec::new(), Counts::default());
//! converter.push(b"cpu usage=1 7\nkafka_consumer,topic=insights value=\"oops\" 1613780514867231123\n", &mut out, &mut counts);
//! assert_eq!(
//!     String::from_utf8(out)?,
//!     "cpu usage=1 7\n\
//!      algorithmia_rejected,reason=invalid_json,topic=insights error=\"expected a value at byte 0\",payload=\"oops\" 1613780514867231123\n",
//! );
//! assert_eq!((counts.passed, counts.all_rejected()), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod buffers;
mod convert;
mod json;
mod line_protocol;
mod observe;
mod payload;
mod settings;

pub use convert::Converter;
pub use convert::parallel::Parallel;
pub use convert::standing::{Standing, StandingError};
pub use convert::wrapping::compression;
pub use line_protocol::decoder::Metric;
pub use line_protocol::escape::escape_key;
pub use line_protocol::field_type::FieldType;
pub use line_protocol::framer::{length_of_lines, lines_of};
pub use observe::event::{Counts, Event, Observer, Reason};
pub use observe::spread::{Histogram, Spread};
pub use observe::summary::{Algorithm, Summary};
pub use observe::trace::{Fate, Key, LeftOut, Origin, Outcome, PointTime, Position, Suffix, TimeSource, Trace};
pub use settings::kinds::{Kind, KindError, KindRule, Kinds};
pub use settings::renames::{Rename, RenameError, Renames};
pub use settings::{Input, Limits, Settings, SettingsError};
