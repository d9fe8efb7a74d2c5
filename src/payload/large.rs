//! Objects and arrays with more values than a point should have fields of one key: embeddings, images.

use crate::json::{Encoding, SyntaxError, Text};
use crate::observe::trace::LeftOut;
use crate::settings::Limits;

/// The reason for leaving one out.
pub(super) const TOO_MANY: LeftOut = LeftOut::lost(
    "more than --max-items: `--as KEY=json` stores its text, and `--as KEY=drop` says that it is not wanted",
);

/// Where one begins, and how many values it holds, including those of objects and arrays within it. Nulls are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Large {
    pub start: usize,
    pub values: usize,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    start: usize,
    is_object: bool,
    /// The values in it, and how many of them are not within another large one.
    values: usize,
    own: usize,
    /// An array within it is large.
    has_large: bool,
    /// The number of those found before it.
    found: usize,
}

/// All objects and arrays with too many values in the payload that begins at `start`, in order. Of arrays within arrays,
/// only the outermost is returned. Empty if they are nested too deep; the payload is rejected for that anyway. `scratch` is
/// a buffer for strings.
pub(super) fn find<E: Encoding>(
    text: Text<'_, E>,
    start: usize,
    limits: Limits,
    scratch: &mut Vec<u8>,
) -> Result<Vec<Large>, SyntaxError> {
    let mut found: Vec<Large> = Vec::new();
    let mut around: Vec<Open> = Vec::new();
    let open = |start, found: &[Large]| Open {
        start,
        is_object: text.byte(start) == Some(b'{'),
        values: 0,
        own: 0,
        has_large: false,
        found: found.len(),
    };
    let mut now = open(start, &found);
    let mut at = start + 1;
    let mut is_first = true;
    loop {
        let close = if now.is_object { b'}' } else { b']' };
        at = text.skip_blank(at);
        let mut ended = is_first && text.byte(at) == Some(close);
        if ended {
            at += 1;
        } else {
            if now.is_object {
                (_, _, at) = text.key(at, scratch)?;
                at = text.skip_blank(at);
            }
            if let Some(b'{' | b'[') = text.byte(at) {
                if around.len() + 2 > limits.nesting {
                    return Ok(Vec::new());
                }
                around.push(std::mem::replace(&mut now, open(at, &found)));
                (at, is_first) = (at + 1, true);
                continue;
            }
            let (value, end) = text.scalar(at, scratch)?;
            scratch.clear();
            now.values += usize::from(!value.is_null());
            now.own += usize::from(!value.is_null());
            (ended, at) = text.ends(end, close)?;
        }
        is_first = false;
        while ended {
            let Some(outer) = around.pop() else { return Ok(found) };
            let inner = std::mem::replace(&mut now, outer);
            let is_large = inner.own > limits.items || inner.has_large && !inner.is_object;
            now.values += inner.values;
            if is_large {
                found.truncate(inner.found);
                found.push(Large { start: inner.start, values: inner.values });
                now.has_large |= !inner.is_object;
            } else {
                now.own += inner.own;
            }
            (ended, at) = text.ends(at, if now.is_object { b'}' } else { b']' })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Plain;

    const LIMITS: Limits = Limits { message: 1024, fields: 10, nesting: 64, items: 3 };

    #[test]
    fn the_outermost_array_is_left_out_and_the_innermost_object() {
        for (json, expected) in [
            (r#"{"a":[1,2,3],"b":1}"#, vec![]),
            (r#"{"a":[1,2,3,4],"b":[1,2,3,null,null]}"#, vec![(5, 4)]),
            (r#"{"a":[[1,2],[3,4]],"b":{"c":[1,2,3,4,5]}}"#, vec![(5, 4), (28, 5)]),
            (r#"{"a":[[1,2,3,4],[5]],"b":1,"c":2,"d":3,"e":4}"#, vec![(5, 5)]),
            (r#"{"a":{"b":{"c":1,"d":2,"e":3,"f":4},"g":5}}"#, vec![(10, 4)]),
            (r#"{"a":[{"b":[1,2,3,4]}],"c":{},"d":[]}"#, vec![(11, 4)]),
            (r#"{"a":1,"b":2,"c":3,"d":4}"#, vec![]),
        ] {
            let found = find(Text::<Plain>::new(json.as_bytes()), 0, LIMITS, &mut Vec::new()).unwrap();
            let found: Vec<_> = found.iter().map(|large| (large.start, large.values)).collect();
            assert_eq!(found, expected, "{json}");
        }
        assert!(find(Text::<Plain>::new(br#"{"a":[1"#), 0, LIMITS, &mut Vec::new()).is_err());
        let deep = "[".repeat(1_000_000);
        assert_eq!(find(Text::<Plain>::new(deep.as_bytes()), 0, LIMITS, &mut Vec::new()), Ok(vec![]));
    }
}
