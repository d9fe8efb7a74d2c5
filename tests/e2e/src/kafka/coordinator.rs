//! The requests about consumer groups that rskafka does not know, written by
//! hand. Their layout is in the protocol guide of Kafka's documentation.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for the coordinator of a group, which also makes Kafka create the topic
/// that all groups' offsets are stored in.
pub(super) fn find(broker: &str, group: &str) -> Result<()> {
    let mut body = Vec::new();
    put_string(&mut body, group);
    body.push(0); // the key is a group's
    let answer = request(broker, 10, 1, &body)?;
    let mut answer = answer.as_slice();
    let _throttle_time = take::<4>(&mut answer)?;
    check_error_code(&mut answer)
}

/// The offsets a group has committed in the partitions 0 to `partitions` of a
/// topic; 0 where it has committed none.
pub(super) fn committed(broker: &str, group: &str, topic: &str, partitions: usize) -> Result<Vec<i64>> {
    let partitions = i32::try_from(partitions)?;
    let mut body = Vec::new();
    put_string(&mut body, group);
    body.extend(1i32.to_be_bytes()); // topics
    put_string(&mut body, topic);
    body.extend(partitions.to_be_bytes());
    body.extend((0..partitions).flat_map(i32::to_be_bytes));
    let answer = request(broker, 9, 5, &body)?;
    let mut answer = answer.as_slice();

    let mut offsets = vec![0; partitions as usize];
    let _throttle_time = take::<4>(&mut answer)?;
    for _ in 0..i32::from_be_bytes(take(&mut answer)?) {
        let _topic = take_string(&mut answer)?;
        for _ in 0..i32::from_be_bytes(take(&mut answer)?) {
            let partition = i32::from_be_bytes(take(&mut answer)?);
            let offset = i64::from_be_bytes(take(&mut answer)?);
            let _leader_epoch = take::<4>(&mut answer)?;
            let _metadata = take_string(&mut answer)?;
            check_error_code(&mut answer)?;
            let slot = offsets.get_mut(partition as usize).context("an unasked-for partition")?;
            *slot = offset.max(0);
        }
    }
    check_error_code(&mut answer)?;
    Ok(offsets)
}

/// How many partitions of a topic each member of a group reads. None while the
/// group is not stable.
pub(super) fn shares(broker: &str, group: &str, topic: &str) -> Result<Vec<usize>> {
    let mut body = Vec::new();
    body.extend(1i32.to_be_bytes()); // groups
    put_string(&mut body, group);
    let answer = request(broker, 15, 0, &body)?;
    let mut answer = answer.as_slice();

    let mut shares = Vec::new();
    for _ in 0..i32::from_be_bytes(take(&mut answer)?) {
        check_error_code(&mut answer)?;
        let _group = take_string(&mut answer)?;
        let stable = take_string(&mut answer)? == b"Stable";
        let _protocol_type = take_string(&mut answer)?;
        let _protocol = take_string(&mut answer)?;
        for _ in 0..i32::from_be_bytes(take(&mut answer)?) {
            let _member_id = take_string(&mut answer)?;
            let _client_id = take_string(&mut answer)?;
            let _client_host = take_string(&mut answer)?;
            let _metadata = take_bytes(&mut answer)?;
            let assignment = take_bytes(&mut answer)?;
            if stable {
                shares.push(assigned(assignment, topic)?);
            }
        }
    }
    Ok(shares)
}

/// How many partitions of a topic are in a member's assignment, which is written
/// by the clients themselves.
fn assigned(mut assignment: &[u8], topic: &str) -> Result<usize> {
    if assignment.is_empty() {
        return Ok(0);
    }
    let mut count = 0;
    let _version = take::<2>(&mut assignment)?;
    for _ in 0..i32::from_be_bytes(take(&mut assignment)?) {
        let counts = take_string(&mut assignment)? == topic.as_bytes();
        for _ in 0..i32::from_be_bytes(take(&mut assignment)?) {
            let _partition = take::<4>(&mut assignment)?;
            count += usize::from(counts);
        }
    }
    Ok(count)
}

/// Sends one request on a connection of its own and gives the body of the answer.
fn request(broker: &str, key: i16, version: i16, body: &[u8]) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(0i32.to_be_bytes()); // correlation id
    put_string(&mut request, "stack"); // client id
    request.extend(body);

    let mut connection = TcpStream::connect_timeout(&broker.parse::<SocketAddr>()?, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.write_all(&i32::try_from(request.len())?.to_be_bytes())?;
    connection.write_all(&request)?;

    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let length = u64::from(u32::from_be_bytes(length));
    let mut answer = Vec::new();
    connection.take(length).read_to_end(&mut answer)?;
    if answer.len() < 4 || answer.len() as u64 != length {
        bail!("the answer broke off");
    }
    Ok(answer.split_off(4)) // behind the correlation id
}

fn put_string(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend((text.len() as i16).to_be_bytes());
    buffer.extend(text.as_bytes());
}

fn take<const N: usize>(answer: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, rest) = answer.split_first_chunk().context("the answer is too short")?;
    *answer = rest;
    Ok(*taken)
}

/// A string that may be null, which its length of -1 says.
fn take_string<'a>(answer: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = i16::from_be_bytes(take(answer)?).max(0) as usize;
    take_length(answer, length)
}

/// Bytes that may be null, which their length of -1 says.
fn take_bytes<'a>(answer: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = i32::from_be_bytes(take(answer)?).max(0) as usize;
    take_length(answer, length)
}

fn take_length<'a>(answer: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = answer.split_at_checked(length).context("the answer is too short")?;
    *answer = rest;
    Ok(taken)
}

fn check_error_code(answer: &mut &[u8]) -> Result<()> {
    match i16::from_be_bytes(take(answer)?) {
        0 => Ok(()),
        14 => bail!("the group coordinator is loading its offsets"),
        15 => bail!("the group coordinator is not available yet"),
        16 => bail!("the broker is not yet the group's coordinator"),
        code => bail!("Kafka answered with error code {code}"),
    }
}
