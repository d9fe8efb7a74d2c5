//! A web server that takes whatever is sent to it, in place of Slack, PagerDuty
//! and the like.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// An HTTP server on a loopback port of its own that answers every request with
/// one status and keeps it. It ends when dropped, with all its connections.
pub struct Receiver {
    address: SocketAddr,
    kept: Arc<Kept>,
    /// Ends the server when dropped.
    _runtime: Runtime,
}

/// A request as it was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `POST` and the like.
    pub method: String,
    /// The path, with the query if there is one.
    pub path: String,
    /// Names, in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The body; what is not UTF-8 in it has become U+FFFD.
    pub body: String,
}

struct Kept {
    status: AtomicU16,
    requests: Mutex<Vec<Request>>,
}

impl Receiver {
    /// Starts a server that answers 200.
    pub fn start() -> Result<Receiver> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener =
            runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).context("cannot open a port to receive on")?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept { status: AtomicU16::new(200), requests: Mutex::default() });
        let all = Router::new().fallback(keep).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&kept));
        runtime.spawn(async { axum::serve(listener, all).await });
        Ok(Receiver { address, kept, _runtime: runtime })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has requests answered with another status from now on, such as 202, which
    /// PagerDuty answers, or 500. They are kept whatever the answer is.
    pub fn answer_with(&self, status: u16) -> Result<()> {
        StatusCode::from_u16(status).with_context(|| format!("{status} is no HTTP status"))?;
        self.kept.status.store(status, Ordering::SeqCst);
        Ok(())
    }

    /// All requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.kept.requests().clone()
    }
}

impl Request {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("the body is not JSON: {}", self.body))
    }

    /// The first value of a header, whose name is given in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Kept {
    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(State(kept): State<Arc<Kept>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    kept.requests().push(Request {
        method: method.to_string(),
        path: uri.to_string(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
        body: text(&body),
    });
    StatusCode::from_u16(kept.status.load(Ordering::SeqCst)).unwrap_or_default()
}
