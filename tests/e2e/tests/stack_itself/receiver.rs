//! The receiver of webhooks.

use stack::{Influxdb, Receiver, Value};
use ureq::Agent;

/// As a client that holds on to its connections.
fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).proxy(None).build();
    Agent::new_with_config(config)
}

#[test]
fn keeps_requests_in_full() -> anyhow::Result<()> {
    let receiver = Receiver::start()?;
    assert!(receiver.requests().is_empty());
    let agent = agent();
    // More than web frameworks take of themselves.
    let long = "é".repeat(4 << 20);
    let text = format!("{{\"text\": \"{long}\"}}");
    let response = agent
        .post(format!("{}/services/T0/B0?a=b%20c", receiver.url()))
        .header("X-Token", "secret")
        .header("Content-Type", "application/json")
        .send(&text)?;
    assert_eq!(response.status(), 200);
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/services/T0/B0?a=b%20c");
    assert_eq!(request.header("x-token"), Some("secret"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("no-such-header"), None);
    assert!(request.body == text, "{} bytes of {}", request.body.len(), text.len());
    assert!(request.json()?["text"] == *long);

    agent.get(receiver.url()).call()?;
    let requests = receiver.requests();
    assert_eq!((requests[1].method.as_str(), requests[1].path.as_str()), ("GET", "/"));
    assert!(requests[1].json().is_err());
    Ok(())
}

#[test]
fn answers_as_it_is_told() -> anyhow::Result<()> {
    let receiver = Receiver::start()?;
    let agent = agent();
    for status in [202, 500, 200] {
        receiver.answer_with(status)?;
        assert_eq!(agent.put(receiver.url()).send("")?.status(), status);
    }
    assert!(receiver.answer_with(99).is_err());
    assert_eq!(receiver.requests().len(), 3);

    let url = receiver.url();
    drop(receiver);
    assert!(agent.put(&url).send("").is_err(), "also on the connection that was open");
    Ok(())
}

#[test]
fn takes_what_influxdb_sends() {
    stack::test("receiver", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let receiver = Receiver::start()?;
        let post = format!(
            "import \"array\" import \"http\" import \"json\" \
             status = http.post(url: \"{}/hook\", headers: {{Authorization: \"Bearer x\"}}, data: json.encode(v: {{a: 1}})) \
             array.from(rows: [{{_value: status}}])",
            receiver.url()
        );
        for status in [200, 202, 500] {
            receiver.answer_with(status)?;
            assert_eq!(influxdb.query(&post)?[0]["_value"], Value::Integer(status.into()));
        }
        let requests = receiver.requests();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[2].header("authorization"), Some("Bearer x"));
        assert_eq!(requests[2].json()?, serde_json::json!({"a": 1}));
        drop(receiver);
        let error = format!("{:#}", influxdb.query(&post).unwrap_err());
        assert!(error.contains("connection refused"), "{error}");
        Ok(())
    });
}
