//! A network between a client and a server that can be slow, and that can be cut.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// No limit.
const UNLIMITED: u64 = u64::MAX;

/// What is forwarded in one go, at most.
const CHUNK: usize = 64 * 1024;

/// A new limit takes effect after this time at the latest, as does the end of the proxy.
const REACTION: Duration = Duration::from_millis(50);

/// A TCP proxy on a loopback port of its own, in front of a server.
///
/// The bytes on their way to the server can be limited per second, over all
/// connections together; those on their way back never are. It ends when
/// dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

struct State {
    server: SocketAddr,
    open: AtomicBool,
    ended: AtomicBool,
    bytes_per_second: AtomicU64,
    forwarded: AtomicU64,
    /// Held by the connection whose bytes are on their way: all have one road.
    road: Mutex<()>,
    connections: Mutex<Connections>,
}

/// Both ends of the connections at hand, by number.
#[derive(Default)]
struct Connections {
    made: u64,
    ends: HashMap<u64, [TcpStream; 2]>,
}

impl Proxy {
    /// Starts an open proxy without a limit in front of a server.
    pub fn start(server: impl ToSocketAddrs) -> Result<Proxy> {
        let server = server.to_socket_addrs()?.next().context("the server has no address")?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot open a port for the proxy")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            server,
            open: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            bytes_per_second: AtomicU64::new(UNLIMITED),
            forwarded: AtomicU64::new(0),
            road: Mutex::default(),
            connections: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let state = Arc::clone(&state);
            move || accept(&listener, &state)
        });
        Ok(Proxy { address, state, acceptor: Some(acceptor) })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Limits the bytes that go to the server in a second from now on; `None`
    /// takes the limit away.
    pub fn limit(&self, bytes_per_second: Option<u64>) {
        self.state.bytes_per_second.store(bytes_per_second.unwrap_or(UNLIMITED).max(1), Ordering::SeqCst);
    }

    /// Cuts all connections, and every new one as soon as it is made.
    pub fn close(&self) {
        self.state.open.store(false, Ordering::SeqCst);
        self.state.cut();
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.state.open.store(true, Ordering::SeqCst);
    }

    /// How many bytes have gone to the server so far.
    pub fn forwarded(&self) -> u64 {
        self.state.forwarded.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.close();
        // So that the acceptor looks.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        for (_, ends) in self.connections().ends.drain() {
            for end in ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }

    /// Forwards a connection until it is cut or both sides have said all.
    fn serve(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.server)?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
        }
        let number = {
            let mut connections = self.connections();
            // Looked at under the lock: what is not there yet when a cut comes must not come afterwards.
            if !self.open.load(Ordering::SeqCst) {
                return Ok(());
            }
            connections.made += 1;
            let number = connections.made;
            connections.ends.insert(number, [client.try_clone()?, server.try_clone()?]);
            number
        };
        let back = thread::spawn({
            let (from, to) = (server.try_clone()?, client.try_clone()?);
            move || forward(from, to, |_| {})
        });
        forward(client, server, |bytes| self.pass(bytes));
        let _ = back.join();
        self.connections().ends.remove(&number);
        Ok(())
    }

    /// Counts bytes that went to the server, and takes the time they are allowed to take.
    fn pass(&self, bytes: usize) {
        self.forwarded.fetch_add(bytes as u64, Ordering::SeqCst);
        let _road = self.road.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = bytes as f64;
        while left > 0.0 && !self.ended.load(Ordering::SeqCst) {
            let limit = self.bytes_per_second.load(Ordering::SeqCst);
            if limit == UNLIMITED {
                break;
            }
            let start = Instant::now();
            thread::sleep(Duration::from_secs_f64(left / limit as f64).min(REACTION));
            left -= start.elapsed().as_secs_f64() * limit as f64;
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming() {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(client) = client
            && state.open.load(Ordering::SeqCst)
        {
            let state = Arc::clone(state);
            // A server that is not there ends the connection: the client sees it cut.
            thread::spawn(move || state.serve(client));
        }
    }
}

/// Copies all that comes, then tells the other side that it was all.
fn forward(mut from: TcpStream, mut to: TcpStream, mut passed: impl FnMut(usize)) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if to.write_all(&buffer[..length]).is_err() {
                    // Nobody takes it any more, and the sender shall know.
                    let _ = from.shutdown(Shutdown::Both);
                    break;
                }
                passed(length);
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
