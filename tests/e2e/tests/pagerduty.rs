//! PagerDuty, as InfluxDB sees it: its URL is fixed, so a proxy that influxd's environment names stands in the way, and leads
//! to a [`Receiver`]. No other host can be reached through it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use stack::{Dir, Receiver, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const HOST: &str = "events.pagerduty.com";

/// More than the head of a request to connect has.
const HEAD_BYTES: usize = 16 * 1024;

pub struct PagerDuty {
    receiver: Receiver,
    proxy: SocketAddr,
    certificate: PathBuf,
    refused: Arc<Mutex<Vec<String>>>,
    /// Ends the proxy when dropped.
    _runtime: Runtime,
}

impl PagerDuty {
    /// Starts it. It answers 202, as PagerDuty does.
    pub fn start(dir: &Dir) -> Result<PagerDuty> {
        let receiver = Receiver::start()?;
        receiver.answer_with(202)?;
        let behind = receiver.url().trim_start_matches("http://").parse()?;

        let signed = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let certificate = dir.write("pagerduty.pem", signed.cert.pem())?;
        let key = PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
        let config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![signed.cert.der().clone()], key)?;
        let tls = TlsAcceptor::from(Arc::new(config));

        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).context("cannot open a port")?;
        let proxy = listener.local_addr()?;
        let refused = Arc::<Mutex<Vec<String>>>::default();
        runtime.spawn({
            let refused = Arc::clone(&refused);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serve(client, behind, tls.clone(), Arc::clone(&refused)));
                }
            }
        });
        Ok(PagerDuty { receiver, proxy, certificate, refused, _runtime: runtime })
    }

    /// What has to be in influxd's environment.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("HTTPS_PROXY", format!("http://{}", self.proxy)),
            ("NO_PROXY", String::new()),
            ("SSL_CERT_FILE", self.certificate.display().to_string()),
        ]
    }

    pub fn answer_with(&self, status: u16) -> Result<()> {
        self.receiver.answer_with(status)
    }

    /// All that PagerDuty was sent.
    pub fn requests(&self) -> Vec<Request> {
        self.receiver.requests()
    }

    /// The other hosts that somebody wanted to reach.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves one connection; an error ends it, and the client sees that.
async fn serve(mut client: TcpStream, behind: SocketAddr, tls: TlsAcceptor, refused: Arc<Mutex<Vec<String>>>) {
    let _: std::io::Result<()> = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let request = head.lines().next().unwrap_or_default();
        if request != format!("CONNECT {HOST}:443 HTTP/1.1") {
            refused.lock().unwrap_or_else(PoisonError::into_inner).push(request.to_owned());
            return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        }
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        let mut client = tls.accept(client).await?;
        let mut server = TcpStream::connect(behind).await?;
        copy_bidirectional(&mut client, &mut server).await.map(drop)
    }
    .await;
}
