//! Objects and arrays with more values than a point should get of one key: the call is kept, and they are not.

use telegraf_algorithmia::{Event, Observer};

use reference::Options;
use reference::case::{Case, input, message};
use reference::product::converter;

fn numbers(count: usize) -> String {
    let numbers: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    format!("[{}]", numbers.join(","))
}

fn text_of_call(value: &str) -> String {
    format!(r#"{{"algorithm_name":"a","x":1,"e":{value},"y":2}}"#)
}

fn call(name: &str, value: &str) -> Case {
    message(name, &text_of_call(value))
}

const REST: &str = "algorithmia,algorithm_name=a x=1,y=2 7";

/// Each key that was left out for its many values, and how many they were.
#[derive(Default)]
struct LeftOut(Vec<(String, usize)>);

impl Observer for LeftOut {
    fn observe(&mut self, event: Event<'_>) {
        if let Event::TooMany { key, values, why } = event {
            assert!(why.contains("--as KEY=json") && why.contains("--as KEY=drop"), "{why}");
            self.0.push((key.into(), values));
        }
    }
}

fn left_out(text: &str) -> Vec<(String, usize)> {
    let mut told = LeftOut::default();
    let mut converter = converter(&Options::default());
    converter.push(text.as_bytes(), &mut vec![], &mut told);
    converter.finish(&mut vec![], &mut told);
    told.0
}

#[test]
fn an_embedding_costs_itself_alone() {
    for count in [257, 768, 1536] {
        call("an embedding", &numbers(count)).gives(REST);
        input("by itself", &format!("{}\n", text_of_call(&numbers(count))).replace(r#""y":2"#, r#""y":2,"time":7e-9"#))
            .with(|options| options.exact_time = true)
            .gives(REST);
        assert_eq!(left_out(&text_of_call(&numbers(count))), [("e".to_string(), count)]);
    }
    let all: Vec<_> = (0..256).map(|at| format!("e_{at}={at}")).collect();
    call("as many as there may be", &numbers(256))
        .gives(&format!("algorithmia,algorithm_name=a x=1,{},y=2 7", all.join(",")));
    call("null is no value", &format!("{},null]", numbers(256).trim_end_matches(']')))
        .gives(&format!("algorithmia,algorithm_name=a x=1,{},y=2 7", all.join(",")));
}

#[test]
fn an_image_is_left_out_whole() {
    let rows = vec![numbers(28); 28].join(",");
    call("rows of pixels", &format!("[{rows}]")).gives(REST);
    assert_eq!(left_out(&text_of_call(&format!("[{rows}]"))), [("e".to_string(), 784)]);
    let wide = vec![numbers(300); 3].join(",");
    assert_eq!(left_out(&text_of_call(&format!("[[{wide}],[1]]"))), [("e".to_string(), 901)]);
    let pixels = numbers(100_000);
    call("100,000 pixels", &pixels).gives(REST);
}

#[test]
fn what_is_around_it_is_kept() {
    let inner = format!(r#"{{"model":"m","embedding":{},"more":[{}]}}"#, numbers(300), numbers(260));
    call("within an object", &inner).gives("algorithmia,algorithm_name=a x=1,e_model_text=\"m\",y=2 7");
    assert_eq!(left_out(&text_of_call(&inner)), [("e_embedding".to_string(), 300), ("e_more".to_string(), 260)]);
    let members: Vec<_> = (0..300).map(|at| format!("\"k{at}\":{at}")).collect();
    call("an object", &format!("{{{}}}", members.join(","))).gives(REST);
    call("an object beside it", &format!("{{{},\"in\":{}}}", members[..200].join(","), numbers(300)))
        .with(|options| {
            options.kinds = vec!["e_k*=drop".into(), "e_z=float".into()];
        })
        .gives(REST);
}

#[test]
fn its_text_is_stored_where_that_is_asked_for() {
    let json = |options: &mut Options| options.kinds = vec!["e=json".into()];
    call("an array", "[1, 2,null]").with(json).gives("algorithmia,algorithm_name=a x=1,e=\"[1, 2,null]\",y=2 7");
    call("an object", r#"{"b":"c\\d\"","n":{}}"#)
        .with(json)
        .gives(r#"algorithmia,algorithm_name=a x=1,e="{\"b\":\"c\\\\d\\\"\",\"n\":{}}",y=2 7"#);
    call("nothing", "{}").with(json).gives("algorithmia,algorithm_name=a x=1,e=\"{}\",y=2 7");
    call("a text", "\"cat\"").with(json).gives("algorithmia,algorithm_name=a x=1,e=\"cat\",y=2 7");
    call("a number", "1.50").with(json).gives("algorithmia,algorithm_name=a x=1,e=\"1.50\",y=2 7");
    call("null", "null").with(json).gives(REST);
    let all = numbers(768);
    call("an embedding", &all).with(json).gives(&format!("algorithmia,algorithm_name=a x=1,e=\"{all}\",y=2 7"));
    call("twice", r#"[1],"e":[2]"#).with(json).gives("algorithmia,algorithm_name=a x=1,e=\"[2]\",y=2 7");
    call("dropped", &all).with(|options| options.kinds = vec!["e=drop".into()]).gives(REST);
    assert!(left_out(r#"{"algorithm_name":"a","x":1}"#).is_empty());
}
