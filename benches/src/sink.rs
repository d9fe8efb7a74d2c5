//! Where Telegraf's output goes: so much of InfluxDB's API that Telegraf's own influxdb_v2 output writes to it. The output's
//! buffer and its gauges are the real ones, but no database takes a share of the processor.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use memchr::memchr_iter;
use stack::Influxdb;

/// Counts what is written to it.
pub struct Sink {
    url: String,
    shared: Arc<Shared>,
}

/// How many points there were, and when the last of them came.
#[derive(Clone, Copy)]
pub struct Taken {
    pub points: u64,
    pub at: Instant,
}

struct Shared {
    taken: Mutex<Taken>,
    /// All that was written, where somebody wants to see it.
    kept: Option<Mutex<Vec<u8>>>,
    /// Weak, since the sink's threads live as long as the benchmark, and the database's folder would stay behind.
    influxdb: Option<Weak<Influxdb>>,
}

impl Sink {
    /// Counts, and writes all to `influxdb` too, if there is one.
    pub fn start(influxdb: Option<Arc<Influxdb>>) -> Result<Self> {
        Self::serve(None, influxdb)
    }

    /// Counts, and keeps all.
    pub fn keeping() -> Result<Self> {
        Self::serve(Some(Mutex::default()), None)
    }

    fn serve(kept: Option<Mutex<Vec<u8>>>, influxdb: Option<Arc<Influxdb>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let taken = Mutex::new(Taken { points: 0, at: Instant::now() });
        let influxdb = influxdb.as_ref().map(Arc::downgrade);
        let shared = Arc::new(Shared { taken, kept, influxdb });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&server);
                thread::spawn(move || {
                    // Of a connection that broke Telegraf itself complains in its log, unless it was killed.
                    if let Err(error) = shared.answer(connection)
                        && !error.is::<std::io::Error>()
                    {
                        eprintln!("a connection to the sink ended: {error:#}");
                    }
                });
            }
        });
        Ok(Sink { url, shared })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn taken(&self) -> Taken {
        *self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all that was written so far; nothing, if it is not kept.
    pub fn look<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        match &self.shared.kept {
            Some(kept) => look(&kept.lock().unwrap_or_else(PoisonError::into_inner)),
            None => look(b""),
        }
    }
}

impl Shared {
    /// Answers the requests of one connection until it is closed.
    fn answer(&self, connection: TcpStream) -> Result<()> {
        let mut reader = BufReader::with_capacity(256 * 1024, connection.try_clone()?);
        let mut body = Vec::new();
        while read_request(&mut reader, &mut body)? {
            if let Some(influxdb) = &self.influxdb {
                influxdb.upgrade().context("the database is gone")?.write(&body)?;
            }
            if let Some(kept) = &self.kept {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&body);
            }
            let points = points(&body);
            {
                let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                *taken = Taken { points: taken.points + points, at: Instant::now() };
            }
            (&connection).write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        }
        Ok(())
    }
}

/// A newline ends a point, unless it is in a text: there, in the messages of [`Shape`](super::Shape), a space follows.
/// To look for quotes would cost the more, the more of them the processor has left.
fn points(body: &[u8]) -> u64 {
    memchr_iter(b'\n', body).filter(|at| body.get(at + 1) != Some(&b' ')).count() as u64
}

/// Reads a request of which only the body counts; false where there is none any more, or not the whole of it: who is
/// killed leaves half a request.
fn read_request(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<bool> {
    body.clear();
    let (mut line, mut length, mut chunked) = (String::new(), 0, false);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse()?,
            Some(("transfer-encoding", value)) => chunked = value == "chunked",
            Some(("content-encoding", value)) => ensure!(value == "identity", "the sink cannot decode {value}"),
            _ if header.is_empty() => break,
            _ => {}
        }
    }
    if !chunked {
        return Ok(reader.take(length).read_to_end(body)? as u64 == length);
    }
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let length = u64::from_str_radix(line.trim_end(), 16).with_context(|| format!("{line:?} begins a chunk"))?;
        let read = reader.take(length).read_to_end(body)? as u64;
        if read < length || reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}
