//! The proxy forwards, is slow when told to, and cuts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use stack::Proxy;

/// A server that sends everything back once all has come, and its proxy.
fn echo() -> Result<Proxy> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let proxy = Proxy::start(listener.local_addr()?)?;
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = client.read_to_end(&mut bytes);
                let _ = client.write_all(&bytes);
            });
        }
    });
    Ok(proxy)
}

fn round_trip(proxy: &Proxy, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut client = TcpStream::connect(proxy.address())?;
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    client.write_all(bytes)?;
    client.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn all_arrives_no_faster_than_the_limit() -> Result<()> {
    let proxy = echo()?;
    let bytes: Vec<u8> = (0..1_000_000u32).map(|index| index as u8).collect();
    assert_eq!(round_trip(&proxy, &bytes)?, bytes);
    assert_eq!(proxy.forwarded(), 1_000_000);

    proxy.limit(Some(500_000));
    let start = Instant::now();
    assert_eq!(round_trip(&proxy, &bytes)?, bytes);
    assert!(start.elapsed() > Duration::from_millis(1_800), "{:?}", start.elapsed());

    // A new limit holds for what is already on its way.
    proxy.limit(Some(1));
    thread::scope(|scope| {
        let slow = scope.spawn(|| round_trip(&proxy, &bytes));
        stack::wait_for("the first bytes", Duration::from_secs(60), || {
            Ok((proxy.forwarded() > 2_000_000).then_some(()))
        })?;
        proxy.limit(None);
        assert_eq!(slow.join().unwrap()?, bytes);
        Ok(())
    })
}

#[test]
fn a_closed_proxy_cuts_what_there_is_and_what_comes() -> Result<()> {
    let proxy = echo()?;
    let mut client = TcpStream::connect(proxy.address())?;
    client.write_all(b"some")?;
    stack::wait_for("the first bytes", Duration::from_secs(60), || Ok((proxy.forwarded() > 0).then_some(())))?;
    proxy.close();
    assert!(matches!(client.read(&mut [0; 10]), Ok(0) | Err(_)));
    assert!(!matches!(round_trip(&proxy, b"more"), Ok(answer) if !answer.is_empty()));
    proxy.open();
    assert_eq!(round_trip(&proxy, b"at last")?, b"at last");
    Ok(())
}
