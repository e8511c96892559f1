//! A session's file, taken apart: a record a line, or one list of records.
//!
//! One record at a time is built, so that a file never takes much more memory than
//! its text. What a record means is told elsewhere.

use serde_json::{Deserializer, Value};

/// What a file holds, in order. What is no JSON comes as it is: a line, or the rest
/// of a list that is broken from there on.
pub(crate) enum Records<'a> {
    Lines(std::str::Lines<'a>),
    List { rest: &'a str, at_start: bool },
    Nothing,
}

/// The records of the file at `path`.
pub(crate) fn records<'a>(path: &str, text: &'a str) -> Records<'a> {
    if !path.ends_with(".json") {
        return Records::Lines(text.lines());
    }
    match text.trim_start() {
        "" => Records::Nothing,
        rest => Records::List {
            rest,
            at_start: true,
        },
    }
}

/// The list's next element and what comes after it; `None` at the list's end.
fn next_of_list(rest: &str, at_start: bool) -> Option<Result<(Value, &str), &str>> {
    let rest = rest.trim_start();
    if !at_start && let Some(end) = rest.strip_prefix(']') {
        let end = end.trim_start();
        return (!end.is_empty()).then_some(Err(end));
    }
    let Some(element) = rest.strip_prefix(if at_start { '[' } else { ',' }) else {
        return Some(Err(rest));
    };
    // Only at the start may the list end where an element could be.
    if at_start && element.trim_start().starts_with(']') {
        return next_of_list(element, false);
    }
    let mut values = Deserializer::from_str(element).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Some(Ok((value, &element[values.byte_offset()..]))),
        _ => Some(Err(rest)),
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Value, &'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Records::Lines(lines) => {
                let line = lines.find(|line| !line.trim().is_empty())?;
                Some(serde_json::from_str(line).map_err(|_| line))
            }
            Records::List { rest, at_start } => match next_of_list(rest, *at_start) {
                Some(Ok((value, after))) => {
                    (*rest, *at_start) = (after, false);
                    Some(Ok(value))
                }
                last => {
                    *self = Records::Nothing;
                    last.map(|broken| broken.map(|(value, _)| value))
                }
            },
            Records::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, text: &str) -> Vec<Result<Value, String>> {
        records(path, text)
            .map(|record| record.map_err(str::to_owned))
            .collect()
    }

    #[test]
    fn a_list_that_is_one_gives_its_elements() {
        for text in [
            "[]",
            " [ ] ",
            "[1]",
            "[1,2 , 3]\n",
            "[{\"a\": [1, \"],\"]}, null,true,\"x\",-1.5e3]",
            "[[],{},[[1]]]",
        ] {
            let whole: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
            let expected: Vec<_> = whole.into_iter().map(Ok).collect();
            assert_eq!(read("a.json", text), expected, "{text}");
        }
    }

    #[test]
    fn a_list_that_is_none_ends_with_what_is_broken() {
        for (text, n_read) in [
            ("{", 0),
            ("{}", 0),
            ("null", 0),
            ("[", 0),
            ("[,]", 0),
            ("[1,]", 1),
            ("[1 2]", 1),
            ("[1]]", 1),
            ("[1] x", 1),
            ("[1, nope]", 1),
            ("[1", 1),
            ("[12x]", 0),
        ] {
            let found = read("a.json", text);
            let n_good = found.iter().filter(|record| record.is_ok()).count();
            assert!(found.last().is_some_and(Result::is_err), "{text}");
            assert_eq!((found.len(), n_good), (n_read + 1, n_read), "{text}");
        }
        assert_eq!(read("a.json", " \n"), []);
    }

    #[test]
    fn a_line_that_is_no_json_comes_as_it_is() {
        let found = read("a.jsonl", "{}\n\nnot json\r\n5");
        assert_eq!(
            found,
            [
                Ok(serde_json::json!({})),
                Err("not json".into()),
                Ok(5.into())
            ]
        );
    }
}
