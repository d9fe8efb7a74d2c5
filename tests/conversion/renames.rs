//! `--rename FROM=TO`: each rule of docs/contract.md's "Renaming", and what it does together with the other rules.

use fixtures::telegraf::{quoted, tagged};
use reference::Options;
use reference::case::{Case, input, message};

/// Options with these renames, and with these kinds.
fn options(renames: &'static [&str], kinds: &'static [&str]) -> impl FnOnce(&mut Options) {
    let texts = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
    move |options| (options.renames, options.kinds) = (texts(renames), texts(kinds))
}

/// A message without a time, of the algorithm `a`.
fn renamed(renames: &'static [&str], members: &str) -> Case {
    let payload = format!(r#"{{"algorithm_name":"a",{members}}}"#);
    message(&format!("{renames:?}"), &payload).with(options(renames, &[]))
}

#[test]
fn rules_follow_each_other() {
    renamed(&["x=y", "y=z"], r#""x":1,"y":2"#).gives("algorithmia,algorithm_name=a z=2 7");
    renamed(&["y=z", "x=y"], r#""x":1,"y":2"#).gives("algorithmia,algorithm_name=a y=1,z=2 7");
    renamed(&["x=y", "x=z"], r#""x":1"#).gives("algorithmia,algorithm_name=a y=1 7");
    renamed(&["x=y", "y=x"], r#""x":1,"y":2"#).gives("algorithmia,algorithm_name=a x=2 7");
}

#[test]
fn a_star_stands_for_any_text_within_a_whole_key() {
    renamed(&["data_*=*"], r#""data":{"x":1,"data":{"y":2}},"data_z":3,"my_data_z":4"#)
        .gives("algorithmia,algorithm_name=a x=1,data_y=2,z=3,my_data_z=4 7");
    renamed(&["*_ms=duration_*"], r#""total_ms":1,"_ms":2,"ms":3"#)
        .gives("algorithmia,algorithm_name=a duration_total=1,duration_=2,ms=3 7");
    renamed(&["scores_*_value=score_*"], r#""scores":[{"value":1},{"value":2,"rank":3}]"#)
        .gives("algorithmia,algorithm_name=a score_0=1,score_1=2,scores_1_rank=3 7");
    renamed(&["outputs_0_data_0=risk"], r#""outputs":[{"data":[0.5,0.6]}]"#)
        .gives("algorithmia,algorithm_name=a risk=0.5,outputs_0_data_1=0.6 7");
    message("all keys", r#"{"algorithm_name":"a","x":1}"#)
        .with(options(&["*=m_*", "m_algorithm_*=algorithm_*"], &[]))
        .gives("algorithmia,algorithm_name=a m_x=1 7");
    renamed(&["x=y"], r#""x_1":1,"ax":2,"X":3"#).gives("algorithmia,algorithm_name=a x_1=1,ax=2,X=3 7");
    renamed(&["data_*=*"], r#""data_":1,"x":2"#).gives("algorithmia,algorithm_name=a x=2 7");
}

/// Rules are about keys as messages have them, flattened: those of an object are not those of what is in it.
#[test]
fn keys_are_the_flattened_ones() {
    renamed(&["box=b"], r#""box":{"x":1}"#).gives("algorithmia,algorithm_name=a box_x=1 7");
    renamed(&["box=b"], r#""box":1"#).gives("algorithmia,algorithm_name=a b=1 7");
    renamed(&["box_*=b_*"], r#""box":{"x":1,"y":{"z":2}}"#).gives("algorithmia,algorithm_name=a b_x=1,b_y_z=2 7");
    renamed(&["_x=y", "z=w"], r#""_x":1,"_z":2"#).gives("algorithmia,algorithm_name=a y=1,z=2 7");
    renamed(&["x=_y"], r#""x":1"#).gives("algorithmia,algorithm_name=a y=1 7");
    renamed(&[r#"a b"=c,d"#], r#""a b\"":1"#).gives("algorithmia,algorithm_name=a c\\,d=1 7");
}

#[test]
fn what_the_new_key_is_decides() {
    message("tags", r#"{"model":"a","team":"o","model_version":"1.10","x":1}"#)
        .with(options(&["model=algorithm_name", "team=algorithm_owner", "model_version=algorithm_version"], &[]))
        .gives("algorithmia,algorithm_name=a,algorithm_owner=o,algorithm_version=1.10 x=1 7");
    message("the name is gone", r#"{"algorithm_name":"a","x":1}"#).with(options(&["algorithm_name=model"], &[])).gives(
        r#"algorithmia_rejected,reason=missing_algorithm_name error="*",payload="{\"algorithm_name\":\"a\",\"x\":1}" 7"#,
    );
    renamed(&["conversation=session_id"], r#""conversation":12"#)
        .gives("algorithmia,algorithm_name=a session_id=\"12\" 7");
    renamed(&["session_id=score"], r#""session_id":12"#).gives("algorithmia,algorithm_name=a score=12 7");
    renamed(&["note=label"], r#""note":"text""#).gives("algorithmia,algorithm_name=a label_text=\"text\" 7");
}

#[test]
fn the_last_value_of_a_key_counts_whatever_it_was_called() {
    renamed(&["x=y"], r#""x":1,"y":2"#).gives("algorithmia,algorithm_name=a y=2 7");
    renamed(&["x=y"], r#""y":2,"x":1"#).gives("algorithmia,algorithm_name=a y=1 7");
    message("a tag", r#"{"algorithm_name":"a","model":"b","x":1}"#)
        .with(options(&["model=algorithm_name"], &[]))
        .gives("algorithmia,algorithm_name=b x=1 7");
}

#[test]
fn a_renamed_key_gives_the_time() {
    let at = "1613780514867231123";
    for members in [
        format!(r#""ts":{at},"x":1"#),
        format!(r#""data":{{"time":{at},"x":1}}"#),
        format!(r#""data":{{"timestamp":{at},"x":1}}"#),
        r#""meta":{"sent":["2021-02-20T00:21:54.867231123Z"]},"x":1"#.to_owned(),
        format!(r#""time":5,"ts":{at},"x":1"#),
    ] {
        renamed(&["ts=time", "data_*=*", "meta_sent_0=time"], &members)
            .gives(&format!("algorithmia,algorithm_name=a x=1 {at}"));
    }
    // Both have one.
    renamed(&["data_*=*"], &format!(r#""time":5,"data":{{"time":{at},"x":1}}"#))
        .gives(&format!("algorithmia,algorithm_name=a x=1 {at}"));
    renamed(&["data_*=*"], &format!(r#""data":{{"time":5000000000000000000,"x":1}},"time":{at}"#))
        .gives(&format!("algorithmia,algorithm_name=a x=1 {at}"));
    // What was a time is one no more.
    renamed(&["time=sent"], r#""time":5,"x":1"#).gives("algorithmia,algorithm_name=a sent=5,x=1 7");
    // What is nested and keeps its key is no time.
    renamed(&["x=y"], &format!(r#""time":{at},"data":{{"time":5}}"#))
        .gives(&format!("algorithmia,algorithm_name=a data_time=5 {at}"));
}

/// The digits are those of "r", as in docs/contract.md.
#[test]
fn a_renamed_request_id_fills_the_digits() {
    renamed(&["id=request_id"], r#""id":"r","x":1,"time":"2021-02-20T00:21:54.867231""#)
        .gives("algorithmia,algorithm_name=a request_id=\"r\",x=1 1613780514867231709");
    renamed(&["data_*=*"], r#""data":{"request_id":"r","time":"2021-02-20T00:21:54.867231"},"x":1"#)
        .gives("algorithmia,algorithm_name=a request_id=\"r\",x=1 1613780514867231709");
    // An envelope has an id, and so has what is in it.
    renamed(&["id=request_id", "data_*=*"], r#""id":"r","data":{"id":5},"time":"2021-02-20T00:21:54.867231""#)
        .gives("algorithmia,algorithm_name=a request_id=\"r\",id=5 1613780514867231709");
    renamed(&["data_*=*", "id=request_id"], r#""id":"s","data":{"id":"r"},"time":"2021-02-20T00:21:54.867231""#)
        .gives("algorithmia,algorithm_name=a request_id=\"r\" 1613780514867231709");
}

#[test]
fn kinds_are_about_the_new_key() {
    message("its type", r#"{"algorithm_name":"a","x":1,"z":2}"#)
        .with(options(&["x=y"], &["x=tag", "y=integer"]))
        .gives("algorithmia,algorithm_name=a y=1i,z=2 7");
    message("a tag", r#"{"algorithm_name":"a","data":{"region":"eu","x":1}}"#)
        .with(options(&["data_*=*"], &["region=tag"]))
        .gives("algorithmia,algorithm_name=a,region=eu x=1 7");
    let boxed = r#"{"algorithm_name":"a","data":{"box":{"x":1,"y":[2]},"x":3}}"#;
    for kind in ["box=drop", "box_*=drop"] {
        message(kind, boxed)
            .with(|o| (o.renames, o.kinds) = (vec!["data_*=*".into()], vec![kind.into()]))
            .gives("algorithmia,algorithm_name=a x=3 7");
    }
    message("its old key is not there", boxed)
        .with(options(&["data_*=*"], &["data_box=drop"]))
        .gives("algorithmia,algorithm_name=a box_x=1,box_y_0=2,x=3 7");
    // The object itself has not been renamed.
    message("all of it", r#"{"algorithm_name":"a","x":1,"data":{"y":2}}"#)
        .with(options(&["data_*=*"], &["data=drop"]))
        .gives("algorithmia,algorithm_name=a x=1 7");
    message("an envelope", r#"{"schema":{"fields":[{"type":"double"}]},"payload":{"algorithm_name":"a","x":1}}"#)
        .with(options(&["payload_*=*"], &["schema=drop"]))
        .gives("algorithmia,algorithm_name=a x=1 7");
    message("no time", r#"{"algorithm_name":"a","x":1,"ts":5}"#)
        .with(options(&["ts=time"], &["time=drop"]))
        .gives("algorithmia,algorithm_name=a x=1 7");
}

#[test]
fn tags_and_fields_of_a_metric_are_renamed_too() {
    let with_tags = |tags: &[(&str, &str)], payload: &str| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        input("tags", &tagged(tags, payload, 7))
    };
    with_tags(&[("topic", "a")], r#"{"x":1}"#)
        .with(options(&["topic=algorithm_name"], &[]))
        .gives("algorithmia,algorithm_name=a x=1 7");
    with_tags(&[("topic", "a"), ("host", "h")], r#"{"algorithm_name":"b","x":1}"#)
        .with(options(&["topic=algorithm_name", "host=node"], &[]))
        .gives("algorithmia,algorithm_name=b,node=h x=1 7");
    with_tags(&[("a", "1"), ("b", "2")], r#"{"algorithm_name":"a","x":1}"#)
        .with(options(&["a=c", "b=c"], &[]))
        .gives("algorithmia,algorithm_name=a,c=2 x=1 7");
    // The payload's key of that name is renamed as well.
    with_tags(&[("topic", "a")], r#"{"topic":"b","x":1}"#)
        .with(options(&["topic=algorithm_name"], &[]))
        .gives("algorithmia,algorithm_name=b x=1 7");
    // So it is in rejections.
    with_tags(&[("topic", "a")], "text")
        .with(options(&["topic=algorithm_owner"], &[]))
        .gives(r#"algorithmia_rejected,algorithm_owner=a,reason=invalid_json error="*",payload="text" 7"#);

    let fields = |fields: &str| {
        let value = quoted(r#"{"algorithm_name":"a","x":1}"#);
        input("fields", &format!("kafka_consumer {fields},value={value} 7\n"))
    };
    fields("offset=5,y=2")
        .with(options(&["offset=kafka_offset"], &[]))
        .gives("algorithmia,algorithm_name=a x=1,kafka_offset=5,y=2 7");
    fields("offset=5,key=\"eu\"")
        .with(options(&["offset=n", "key=region"], &["n=integer", "region=tag"]))
        .gives("algorithmia,algorithm_name=a,region=eu x=1,n=5i 7");
    // The payload's wins; and only a payload gives the time.
    fields("x2=5,at=6")
        .with(options(&["x2=x", "at=time"], &[]))
        .gives("algorithmia,algorithm_name=a x=1,time_field=6 7");
}
