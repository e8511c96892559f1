//! Behaviour of the filter as a whole, over random replies and random cuts.

use super::*;

/// A pseudo-random generator, so that a failing case can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("small")
    }

    fn text(&mut self, parts: &[&str], max_parts: usize) -> String {
        let n_parts = self.below(max_parts + 1);
        (0..n_parts)
            .map(|_| parts[self.below(parts.len())])
            .collect()
    }

    /// Cuts a text into pieces of one to nine characters.
    fn cut(&mut self, text: &str) -> Vec<String> {
        let mut chars = text.chars();
        let mut pieces = Vec::new();
        loop {
            let n_chars = 1 + self.below(9);
            let piece: String = chars.by_ref().take(n_chars).collect();
            if piece.is_empty() {
                return pieces;
            }
            pieces.push(piece);
        }
    }
}

/// Fragments of everything that means something, whole and in parts.
const FRAGMENTS: [&str; 60] = [
    "<think>",
    "</think>",
    "<THI",
    "NK>",
    "<",
    "</",
    "think",
    ">",
    " ",
    "\n",
    "\n\n",
    "\r",
    "a",
    "é",
    "😀",
    "b c",
    "Nox:",
    "Nox",
    " : ",
    "Noctics ",
    "nox：",
    "Hardware context:",
    "hardware ",
    "context",
    "[SET TITLE]",
    "[/SET TITLE]",
    "[set",
    "title]",
    "[/",
    "[",
    "]",
    "[INSTRUMENT QUERY]",
    "[/INSTRUMENT QUERY]",
    "[INSTRUMENT",
    "QUERY]",
    "[INSTRUMENT RESULT]",
    "[/INSTRUMENT RESULT]",
    "RESULT]",
    "<|assistant|>",
    "<|user|>",
    "<|",
    "user",
    "|>",
    "[/assistant]",
    "</user>",
    "</ dev >",
    "x",
    "y\n",
    "  ",
    "\t",
    "\u{1c}",
    "İ",
    "</thi",
    "[SET",
    "[/SET",
    " TITLE]",
    "[/INSTRUMENT",
    "</ think>",
    ".",
    "0",
];

fn run(filter: &mut ReplyFilter, pieces: &[impl AsRef<str>]) -> (ReplyPiece, ReplyEffects) {
    let mut whole = ReplyPiece::default();
    for piece in pieces {
        whole.append(&filter.push(piece.as_ref()));
    }
    whole.append(&filter.finish());
    (whole, filter.effects())
}

fn shown(text: &str) -> String {
    clean_reply(text, true).0.text
}

fn check(cases: &[(&str, &str)]) {
    for (input, expected) in cases {
        assert_eq!(shown(input), *expected, "{input:?}");
    }
}

#[test]
fn reasoning_is_kept_apart() {
    for (input, text, reasoning) in [
        ("x", "x", ""),
        ("<think>a</think>b", "b", "a"),
        ("<THINK>a</tHink>b", "b", "a"),
        ("a <think>b</think> c", "a c", "b"),
        ("  <think> a </think>\n\nb \n", "b", "a"),
        ("<think>a</think>x<think>b</think>y", "xy", "a\nb"),
        ("x<think>open", "x", "open"),
        ("x<think>", "x", ""),
        ("x <thi", "x <thi", ""),
        ("<think>a</thin", "", "a</thin"),
        ("a</think>b", "a</think>b", ""),
        ("<think >a</think>b", "<think >a</think>b", ""),
        ("1 < 2 <<think>é</think>😀", "1 < 2 <😀", "é"),
        ("<think></think>", "", ""),
    ] {
        let (piece, _) = clean_reply(input, true);
        assert_eq!(
            (piece.text.as_str(), piece.reasoning.as_str()),
            (text, reasoning),
            "{input}"
        );
    }
}

#[test]
fn nested_reasoning_ends_with_its_outermost_closing_tag() {
    for (input, text, reasoning) in [
        (
            "<think>a<think>b</think>c</think>d",
            "d",
            "a<think>b</think>c",
        ),
        ("<think><think>a</think></think>b", "b", "<think>a</think>"),
        // An opening tag that is only mentioned must not swallow the reply.
        (
            "<think>a <think> tag</think>answer",
            "answer",
            "a <think> tag",
        ),
        (
            "<think>1<think>2<think>3</think>4</think>5",
            "5",
            "1<think>2<think>3</think>4",
        ),
        (
            "<think>1<think>2</think>3<think>4</think>5",
            "35",
            "1<think>2\n4",
        ),
    ] {
        let (piece, _) = clean_reply(input, true);
        assert_eq!(
            (piece.text.as_str(), piece.reasoning.as_str()),
            (text, reasoning),
            "{input}"
        );
    }
}

#[test]
fn a_block_with_a_misspelt_closing_tag_is_shown_as_it_stands() {
    check(&[
        ("<think>a</ think>b", "<think>a</ think>b"),
        ("x<THINK>a</think\n>b", "x<THINK>a</think\n>b"),
        ("<think>a</ think>b</think>c", "c"),
        ("<think>a</ think>b</think>c<think>d", "c"),
    ]);
}

#[test]
fn a_prompt_that_opened_the_reasoning_is_told_to_the_filter() {
    let mut filter = ReplyFilter::new(true).starting_in_reasoning();
    let (piece, effects) = run(&mut filter, &["secret plan</th", "ink>answer"]);
    assert_eq!(
        (piece.text.as_str(), piece.reasoning.as_str()),
        ("answer", "secret plan")
    );
    assert!(effects.had_reasoning);
}

#[test]
fn tags_of_reasoning_are_text_when_it_is_not_stripped() {
    let (piece, effects) = run(&mut ReplyFilter::new(false), &[" <think>a</think>", " b "]);
    assert_eq!(
        (piece.text.as_str(), piece.reasoning.as_str()),
        ("<think>a</think> b", "")
    );
    assert!(!effects.had_reasoning);
}

#[test]
fn a_tag_in_backticks_is_being_talked_about() {
    check(&[
        (
            "Use `<think>` and `</think>` tags",
            "Use `<think>` and `</think>` tags",
        ),
        ("Say `[/user]` to close", "Say `[/user]` to close"),
        ("`[SET TITLE]` sets a title", "`[SET TITLE]` sets a title"),
        ("`<|user|>`", "`<|user|>`"),
        ("<think>about `</think>` tags</think>a", "a"),
        // Code that only begins with a tag is code with a tag in it.
        ("`[/user] x`", "` x`"),
        ("x `<|user|>", "x `"),
    ]);
}

#[test]
fn labels_and_hardware_lines_in_front_vanish() {
    check(&[
        ("Noctics Nox： NOX :hi", "hi"),
        ("<|assistant|>Nox: hi", "hi"),
        ("[SET TITLE]t[/SET TITLE]\nNox: hi", "hi"),
        ("<|assistant|>Hardware context: x\nhi", "hi"),
        ("Hardware context: a\n\nHardware context: b\n  hi", "hi"),
        ("Hardware context: a\u{2028}hi", "hi"),
        // Not what it looks like at first.
        ("Noctics is old", "Noctics is old"),
        ("Nox", "Nox"),
        ("Hardware\ncontext: x", "Hardware\ncontext: x"),
        ("hi\nNox: hi", "hi\nNox: hi"),
        ("Hardware context: x\nNox: hi", "Nox: hi"),
    ]);
}

#[test]
fn template_tokens_vanish_even_where_deleting_makes_new_ones() {
    check(&[
        ("a<|assist<|user|>ant|>b", "ab"),
        ("</us</user>er>", ""),
        ("<|us[/dev]er|>x</ assis<|us</user>er|>tant>", "x"),
        ("<|us<b>er|>", "<|us<b>er|>"),
        ("< |user|> [/ other]", "< |user|> [/ other]"),
    ]);
}

#[test]
fn line_ends_become_line_feeds_and_nothing_else_does() {
    check(&[
        ("a\r\nb\rc\r\r\nd", "a\nb\nc\n\nd"),
        (
            "a\u{b}b\u{c}c\u{85}d\u{2028}e\u{2029}f",
            "a\u{b}b\u{c}c\u{85}d\u{2028}e\u{2029}f",
        ),
    ]);
}

#[test]
fn closed_blocks_vanish_and_have_their_effect() {
    for (input, text, title, query) in [
        (
            "a [SET TITLE] My\n title [/SET TITLE]b",
            "a b",
            Some("My title"),
            None,
        ),
        (
            "[SET TITLE]a[/SET TITLE][settitle]b[/settitle]",
            "",
            Some("b"),
            None,
        ),
        (
            "[SET TITLE]a[/SET TITLE]x[SET TITLE] [/SET TITLE]",
            "x",
            Some("a"),
            None,
        ),
        (
            "[INSTRUMENT QUERY] q1\nr [/INSTRUMENT QUERY]x[INSTRUMENT QUERY]q2[/INSTRUMENT QUERY]",
            "x",
            None,
            Some("q1\nr"),
        ),
        ("<think>[SET TITLE]a[/SET TITLE]</think>x", "x", None, None),
        (
            "[SET TITLE]a<think>b</think>c[/SET TITLE]",
            "",
            Some("ac"),
            None,
        ),
        // Tags that cross: both vanish, and the text between them stays.
        (
            "[SET TITLE]a[INSTRUMENT QUERY]b[/SET TITLE]c[/INSTRUMENT QUERY]d",
            "cd",
            Some("a"),
            None,
        ),
        ("x[/SET TITLE]", "x[/SET TITLE]", None, None),
    ] {
        let (piece, effects) = clean_reply(input, true);
        assert_eq!(piece.text, text, "{input}");
        assert_eq!(effects.title.as_deref(), title, "{input}");
        assert_eq!(effects.instrument_query.as_deref(), query, "{input}");
    }
}

#[test]
fn an_unclosed_block_costs_no_more_than_it_was_meant_to_hold() {
    for (input, text) in [
        ("[SET TITLE]open", ""),
        (
            "[SET TITLE]\n My title\nThe answer.\n\nMore.",
            "The answer.\n\nMore.",
        ),
        ("Hi.\n[INSTRUMENT QUERY]what\nis it?", "Hi."),
        ("[INSTRUMENT QUERY]\n\nwhat\nis it?\n \nAnyway.", "Anyway."),
        ("a [INSTRUMENT RESULT]b\nc", "a b\nc"),
        (
            "[INSTRUMENT RESULT]a[INSTRUMENT RESULT]b[/INSTRUMENT RESULT]",
            "ab",
        ),
        ("[SET TITLE]t [INSTRUMENT RESULT]r[/INSTRUMENT RESULT]", "r"),
        ("[SET TITLE]a[SET TITLE]b[/SET TITLE]c", "c"),
        ("[INSTRUMENT QUERY]a[SET TITLE]b[/SET TITLE]c", "c"),
    ] {
        let (piece, effects) = clean_reply(input, true);
        assert_eq!(piece.text, text, "{input}");
        assert_eq!(effects.instrument_query, None, "{input}");
    }
}

#[test]
fn a_reply_that_is_nothing_but_results_is_what_they_hold() {
    check(&[
        ("[INSTRUMENT RESULT]\nx\ny\n[/INSTRUMENT RESULT]", "x\ny"),
        (
            "Nox: [INSTRUMENT RESULT]Nox: a[/INSTRUMENT RESULT]<|user|>",
            "Nox: a",
        ),
        (
            "[INSTRUMENT RESULT]a[/INSTRUMENT RESULT][INSTRUMENT RESULT]b[/INSTRUMENT RESULT]",
            "a\n\nb",
        ),
        (
            "[INSTRUMENT RESULT]a[/INSTRUMENT RESULT] mid [INSTRUMENT RESULT]b[/INSTRUMENT RESULT]",
            "mid",
        ),
        (
            "[INSTRUMENT RESULT]a[INSTRUMENT RESULT]b[/INSTRUMENT RESULT]c[/INSTRUMENT RESULT]",
            "abc",
        ),
        ("Hi [INSTRUMENT RESULT]a[/INSTRUMENT RESULT]", "Hi"),
    ]);
    let (piece, effects) = clean_reply(
        "[INSTRUMENT RESULT]a[SET TITLE]t[/SET TITLE][/INSTRUMENT RESULT]",
        true,
    );
    assert_eq!(
        (piece.text.as_str(), effects.title.as_deref()),
        ("a", Some("t"))
    );
}

#[test]
fn what_is_certain_is_shown_at_once() {
    let mut filter = ReplyFilter::new(true);
    for (input, text) in [
        ("Nox", ""),
        (": Hel", "Hel"),
        ("lo ", "lo"),
        ("you<th", " you"),
        ("ere", "<there"),
        ("[SET T", ""),
        ("ITLE]x[/SET TITLE]", ""),
        (" now", " now"),
    ] {
        assert_eq!(filter.push(input).text, text, "{input}");
    }
}

#[test]
fn blocks_beyond_their_caps_are_text() {
    let line = "word ".repeat(1000);
    let paragraphs = "p\n\n".repeat(20_000);
    let mut random = Random(0x5eed);
    for (input, expected) in [
        (
            format!("[SET TITLE]{line}[/SET TITLE]end"),
            format!("{line}end"),
        ),
        (
            format!("[SET TITLE]t\n{line}[/SET TITLE]end"),
            format!("{line}end"),
        ),
        (
            format!("[INSTRUMENT QUERY]q\n\n{paragraphs}[/INSTRUMENT QUERY]end"),
            format!("{paragraphs}end"),
        ),
        (
            format!(
                "[INSTRUMENT RESULT]{}[/INSTRUMENT RESULT]end",
                paragraphs.repeat(6)
            ),
            format!("{}end", paragraphs.repeat(6)),
        ),
    ] {
        let (piece, effects) = clean_reply(&input, true);
        assert!(piece.text == expected, "{} bytes", input.len());
        assert_eq!((effects.title, effects.instrument_query), (None, None));
        let (cut, _) = run(&mut ReplyFilter::new(true), &random.cut(&input));
        assert!(cut == piece, "{} bytes in pieces", input.len());
    }
    let long_title = format!("[SET TITLE]{}[/SET TITLE]", "é".repeat(500));
    let title = clean_reply(&long_title, true).1.title.expect("a title");
    assert_eq!(title.chars().count(), 80);
}

#[test]
fn joined_pieces_are_the_cleaned_whole_for_any_cut() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut with_backticks = FRAGMENTS.to_vec();
    with_backticks.extend(["`"; 12]);
    for _ in 0..8_000 {
        let input = random.text(&with_backticks, 24);
        let strip_reasoning = random.below(4) > 0;
        let whole = clean_reply(&input, strip_reasoning);
        let pieces = random.cut(&input);
        let cut = run(&mut ReplyFilter::new(strip_reasoning), &pieces);
        assert_eq!(cut, whole, "{input:?} as {pieces:?}");
    }
}

#[test]
fn the_filter_agrees_with_the_rules_on_the_whole_text() {
    let mut random = Random(0x0123_4567_89ab_cdef);
    for _ in 0..12_000 {
        let input = random.text(&FRAGMENTS, 24);
        let strip_reasoning = random.below(4) > 0;
        let (piece, effects) = clean_reply(&input, strip_reasoning);
        let expected = reference::clean(&input, strip_reasoning);
        assert_eq!(
            (piece.text, effects.title, effects.instrument_query),
            expected,
            "{input:?}"
        );
    }
}

#[test]
fn nothing_that_has_to_vanish_is_ever_shown() {
    const ITEMS: [&str; 16] = [
        "word ",
        "é\n",
        "two words. ",
        "<think>SECRET</think>",
        "<THINK>SEC\nRET SECRET</think>\n",
        "<think>SECRET<think>SECRET</think>SECRET</think>",
        "[SET TITLE]SECRET[/SET TITLE]",
        "[set  title]\nSECRET\n[/SETTITLE]",
        "[INSTRUMENT QUERY]SECRET?[/INSTRUMENT QUERY]",
        "[INSTRUMENT QUERY]\n[SET TITLE]SECRET[/SET TITLE][/INSTRUMENT QUERY]",
        "shown[INSTRUMENT RESULT]SECRET\n\nSECRET[/INSTRUMENT RESULT]",
        "<|assistant|>",
        "</user>",
        "[/ assistant ]",
        "</us<|us</dev>er|>er>",
        "\r\n",
    ];
    const HEADS: [&str; 4] = [
        "",
        "Nox: ",
        "<|assistant|>noctics nox：",
        "Hardware context: SECRET\n",
    ];
    let mut random = Random(0xdead_beef_cafe_f00d);
    for _ in 0..8_000 {
        let whole = HEADS[random.below(4)].to_owned() + &random.text(&ITEMS, 12);
        let (piece, _) = run(&mut ReplyFilter::new(true), &random.cut(&whole));
        for trace in ["SECRET", "<", "[", "Nox", "nox", "]", ">", "|"] {
            assert!(
                !piece.text.contains(trace),
                "{whole:?} shows {trace}: {:?}",
                piece.text
            );
        }
        // A reply that is stopped anywhere shows no secret either, but for what is
        // shown on purpose: an unfinished result, and what stands behind an inner
        // closing tag of reasoning.
        if !whole.contains("RESULT") && !whole.contains("SECRET<think>") {
            let n_chars = random.below(whole.chars().count() + 1);
            let stopped: String = whole.chars().take(n_chars).collect();
            let (piece, _) = run(&mut ReplyFilter::new(true), &random.cut(&stopped));
            assert!(
                !piece.text.contains("SEC"),
                "{stopped:?} shows {:?}",
                piece.text
            );
        }
    }
}

/// Replies that make a careless filter look at the same text again and again.
fn hostile(n_bytes: usize) -> Vec<String> {
    let fill = |part: &str| part.repeat(n_bytes / part.len());
    let block = |part: &str| format!("{part}{}", fill("abc def\n"));
    vec![
        fill("words and more\n"),
        fill(" "),
        fill("<"),
        fill("<|"),
        fill("[SET "),
        fill("`<think>"),
        fill("<think>"),
        fill("<think><think></think>"),
        fill("<think><think></think>x</ think>"),
        fill("<think>a<think>b</think>c"),
        fill("</think>"),
        fill("[SET TITLE]\n"),
        fill("[SET TITLE]"),
        fill("[INSTRUMENT QUERY]\n\n"),
        fill("[SET TITLE]\n[INSTRUMENT QUERY]\n\n"),
        fill("[INSTRUMENT QUERY]a[SET TITLE]b\nc"),
        fill("[INSTRUMENT RESULT][SET TITLE]\n[INSTRUMENT QUERY]\n\n"),
        fill("[INSTRUMENT RESULT]"),
        fill("[INSTRUMENT RESULT]a[/INSTRUMENT RESULT]"),
        fill("[INSTRUMENT RESULT][INSTRUMENT RESULT][/INSTRUMENT RESULT]"),
        fill("</us</user>er>"),
        fill("Nox:"),
        fill("Hardware context: x\n"),
        format!("[SET{}", fill(" ")),
        block("[SET TITLE]"),
        block("[INSTRUMENT QUERY]"),
        block("[INSTRUMENT RESULT]"),
        block("<think>a<think>b</think>"),
        format!(
            "[INSTRUMENT RESULT]{}[/INSTRUMENT RESULT]",
            fill("[SET TITLE]x\n")
        ),
    ]
}

#[test]
fn work_grows_with_the_length_and_not_with_its_square() {
    // A dozen or so of patterns at a tag's beginning, and a text may be held back and
    // taken in again a few times. A quadratic filter would need thousands.
    const MAX_STEPS_PER_BYTE: u64 = 80;
    let mut texts = hostile(80_000);
    texts.push(format!(
        "[INSTRUMENT RESULT]{}",
        "[SET TITLE]
"
        .repeat(25_000)
    ));
    texts.push(
        "words, <b>, [x] and more
"
        .repeat(40_000),
    );
    for text in texts {
        let mut filter = ReplyFilter::new(true);
        work::take();
        for c in text.chars() {
            filter.push(c.encode_utf8(&mut [0; 4]));
        }
        filter.finish();
        let n_steps = work::take();
        let begin: String = text.chars().take(40).collect();
        let limit = MAX_STEPS_PER_BYTE * text.len() as u64;
        assert!(
            n_steps < limit,
            "{begin:?}: {n_steps} steps for {} bytes",
            text.len()
        );
    }
}

#[test]
fn memory_is_bounded_by_the_caps() {
    /// Beginnings of tags, white space, and the piece that goes beyond a cap.
    const REST_BYTES: usize = 12 * 1024;
    const PIECE_BYTES: usize = 4096;
    let words = "abc def\n";
    for (begin, part, max_bytes) in [
        ("", words, 0),
        ("", " ", 0),
        ("x", " ", 0),
        ("", "<|", 0),
        ("[SET", " ", 0),
        ("[SET TITLE]", words, blocks::MAX_TITLE_BLOCK_BYTES),
        ("[INSTRUMENT QUERY]", words, blocks::MAX_QUERY_BYTES),
        ("[INSTRUMENT RESULT]", words, blocks::MAX_RESULT_BYTES),
        (
            "",
            "[INSTRUMENT RESULT]a[/INSTRUMENT RESULT]",
            blocks::MAX_RESULT_BYTES,
        ),
        ("<think>", words, reasoning::MAX_HELD_BYTES),
        (
            "<think><think></think>",
            words,
            2 * reasoning::MAX_HELD_BYTES,
        ),
    ] {
        let text = begin.to_owned() + &part.repeat(2 * (max_bytes + REST_BYTES) / part.len());
        let mut filter = ReplyFilter::new(true);
        let mut most = 0;
        for piece in text.as_bytes().chunks(PIECE_BYTES) {
            filter.push(std::str::from_utf8(piece).expect("ASCII"));
            most = most.max(filter.held_bytes());
        }
        assert!(
            most <= max_bytes + REST_BYTES,
            "{begin:?} {part:?}: {most} bytes are held"
        );
    }
}

impl ReplyFilter {
    fn held_bytes(&self) -> usize {
        let reasoning = self.reasoning.as_ref().map_or(0, Reasoning::held_bytes);
        self.tokens.held_bytes() + reasoning + self.blocks.held_bytes() + self.reply.held_bytes()
    }
}

/// The same rules once more, on a text that lies there whole, without caps and
/// without regard to time: tokens are deleted until none is left, blocks are found
/// by looking ahead.
mod reference {
    type Cleaned = (String, Option<String>, Option<String>);

    fn is_space(c: char) -> bool {
        c.is_whitespace() || matches!(c, '\u{1c}' | '\u{1d}' | '\u{1e}' | '\u{1f}')
    }

    /// The length in bytes of `pattern` at the beginning of `text`; `_` stands for
    /// white space that may be missing, a blank for some that may not.
    fn prefix(text: &str, pattern: &str) -> Option<usize> {
        let mut rest = text;
        for wanted in pattern.chars() {
            let trimmed = rest.trim_start_matches(is_space);
            rest = match wanted {
                '_' => trimmed,
                ' ' if trimmed.len() < rest.len() => trimmed,
                _ => {
                    let c = rest.chars().next()?;
                    let folded = if c == 'İ' {
                        'i'
                    } else {
                        c.to_ascii_lowercase()
                    };
                    rest.strip_prefix(c)
                        .filter(|_| folded == wanted && wanted != ' ')?
                }
            };
        }
        Some(text.len() - rest.len())
    }

    /// Cuts a text into tags (with the index of their pattern) and single characters.
    fn cut<'a>(text: &'a str, patterns: &[&str]) -> Vec<(Option<usize>, &'a str)> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let found = patterns
                .iter()
                .enumerate()
                .find_map(|(idx, pattern)| Some((idx, prefix(rest, pattern)?)));
            let (tag, length) =
                found.map_or((None, c.len_utf8()), |(idx, length)| (Some(idx), length));
            tokens.push((tag, &rest[..length]));
            rest = &rest[length..];
        }
        tokens
    }

    pub(super) fn clean(text: &str, strip_reasoning: bool) -> Cleaned {
        let mut text = text.replace("\r\n", "\n").replace('\r', "\n");
        let tokens = [
            "<|assistant|>",
            "<|/assistant|>",
            "<|user|>",
            "<|/user|>",
            "[/_assistant_]",
            "[/_user_]",
            "[/_dev_]",
            "</_assistant_>",
            "</_user_>",
            "</_dev_>",
        ];
        loop {
            let pieces = cut(&text, &tokens);
            let kept = pieces.iter().filter(|(tag, _)| tag.is_none());
            let shorter: String = kept.map(|(_, text)| *text).collect();
            if shorter.len() == text.len() {
                break;
            }
            text = shorter;
        }
        if strip_reasoning {
            text = without_reasoning(&text);
        }
        let mut blocks = Blocks::default();
        blocks.run(&cut(&text, &TAGS), false);
        let mut reply = without_head(&blocks.out, true);
        if reply.is_empty() && !blocks.results.is_empty() {
            let results = blocks.results.join("\n\n");
            blocks.out.clear();
            blocks.run(&cut(&results, &TAGS), true);
            reply = without_head(&blocks.out, false);
        }
        (reply, blocks.title, blocks.query)
    }

    fn without_reasoning(text: &str) -> String {
        let tokens = cut(text, &["<think>", "</think>", "</_think_>"]);
        let mut out = String::new();
        let mut at = 0;
        let mut nests = true;
        while at < tokens.len() {
            if tokens[at].0 != Some(0) {
                out.push_str(tokens[at].1);
                at += 1;
                continue;
            }
            let mut depth = 0_usize;
            // The closing tags that bring the depth lower than it was before.
            let mut lowest = usize::MAX;
            let mut end = None;
            for (idx, (tag, _)) in tokens.iter().enumerate().skip(at) {
                match tag {
                    Some(0) => depth += 1,
                    Some(1) => {
                        depth -= 1;
                        if !nests || depth < lowest {
                            end = Some((idx, depth));
                            lowest = depth;
                        }
                        if !nests || depth == 0 {
                            break;
                        }
                    }
                    _ => {}
                }
            }
            match end {
                Some((idx, depth)) => {
                    // From here on the first closing tag counts.
                    nests &= depth == 0;
                    at = idx + 1;
                    while tokens
                        .get(at)
                        .is_some_and(|(_, text)| text.chars().all(is_space))
                    {
                        at += 1;
                    }
                }
                None => {
                    if tokens[at..].iter().any(|(tag, _)| *tag == Some(2)) {
                        out.extend(tokens[at..].iter().map(|(_, text)| *text));
                    }
                    break;
                }
            }
        }
        out
    }

    /// Titles, queries, results: an opening and a closing tag each.
    const TAGS: [&str; 6] = [
        "[set_title]",
        "[/set_title]",
        "[instrument query]",
        "[/instrument query]",
        "[instrument result]",
        "[/instrument result]",
    ];

    #[derive(Default)]
    struct Blocks {
        out: String,
        orphans: [usize; 3],
        results: Vec<String>,
        title: Option<String>,
        query: Option<String>,
    }

    impl Blocks {
        fn run(&mut self, tokens: &[(Option<usize>, &str)], mut unwrapping: bool) {
            let mut at = 0;
            while at < tokens.len() {
                let (tag, text) = tokens[at];
                at += 1;
                let Some(tag) = tag else {
                    self.out.push_str(text);
                    continue;
                };
                let kind = tag / 2;
                if tag % 2 == 1 {
                    if self.orphans[kind] > 0 {
                        self.orphans[kind] -= 1;
                    } else {
                        self.out.push_str(text);
                    }
                } else if kind == 2 && unwrapping {
                    self.orphans[2] += 1;
                } else if let Some(n) = block_length(&tokens[at..], kind) {
                    self.close(kind, &tokens[at..at + n]);
                    at += n + 1;
                } else {
                    self.orphans[kind] += 1;
                    unwrapping |= kind == 2;
                    at += n_lost(&tokens[at..], kind);
                }
            }
        }

        fn close(&mut self, kind: usize, inside: &[(Option<usize>, &str)]) {
            for other in (0..3).filter(|other| *other != kind) {
                let mut open = 0_usize;
                for (tag, _) in inside {
                    match tag {
                        Some(tag) if *tag == 2 * other => open += 1,
                        Some(tag) if *tag == 2 * other + 1 => open = open.saturating_sub(1),
                        _ => {}
                    }
                }
                self.orphans[other] += open;
            }
            let join = |tokens: &[(Option<usize>, &str)]| -> String {
                let text: String = tokens.iter().map(|(_, text)| *text).collect();
                text.trim_matches(is_space).to_owned()
            };
            match kind {
                0 => {
                    let own = inside.iter().position(|(tag, _)| tag.is_some());
                    let title = join(&inside[..own.unwrap_or(inside.len())]);
                    let words = title.split(|c: char| is_space(c) || c.is_control());
                    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
                    if !words.is_empty() {
                        self.title = Some(words.join(" "));
                    }
                }
                1 if !join(inside).is_empty() => {
                    self.query.get_or_insert(join(inside));
                }
                1 => {}
                _ => {
                    let result = join(inside);
                    let is_first = self.results.is_empty();
                    if is_first || !result.is_empty() {
                        self.results.retain(|result| !result.is_empty());
                        self.results.push(result);
                    }
                }
            }
        }
    }

    /// How many tokens stand in front of the closing tag.
    fn block_length(tokens: &[(Option<usize>, &str)], kind: usize) -> Option<usize> {
        let mut depth = 1;
        for (idx, (tag, _)) in tokens.iter().enumerate() {
            match tag {
                Some(tag) if *tag == 2 * kind && kind < 2 => return None,
                Some(tag) if *tag == 2 * kind => depth += 1,
                Some(tag) if *tag == 2 * kind + 1 => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(idx);
            }
        }
        None
    }

    /// How many tokens vanish with an opening tag that is never closed.
    fn n_lost(tokens: &[(Option<usize>, &str)], kind: usize) -> usize {
        let n_own = tokens.iter().position(|(tag, _)| tag.is_some());
        let own: Vec<&str> = tokens[..n_own.unwrap_or(tokens.len())]
            .iter()
            .map(|(_, text)| *text)
            .collect();
        let is_blank = |text: &&str| text.chars().all(is_space);
        let begin = own.iter().take_while(|text| is_blank(text)).count();
        let breaks: Vec<usize> = (begin..own.len()).filter(|&at| own[at] == "\n").collect();
        let end = match kind {
            0 => breaks.first().copied(),
            1 => breaks
                .windows(2)
                .find(|pair| own[pair[0]..pair[1]].iter().all(is_blank))
                .map(|pair| pair[0] + 1),
            _ => Some(0),
        };
        end.unwrap_or(own.len())
    }

    fn without_head(text: &str, mut has_labels: bool) -> String {
        let mut rest = text.trim_matches(is_space);
        loop {
            let label = ["nox_:", "nox_：", "noctics nox_:", "noctics nox_："]
                .iter()
                .find_map(|label| prefix(rest, label).filter(|_| has_labels));
            let hardware = prefix(rest, "hardware context_:")
                .filter(|n| !rest[..*n].contains(['\n', '\u{1c}']));
            let n = match (label, hardware) {
                (Some(n), _) => n,
                (None, Some(_)) => {
                    has_labels = false;
                    rest.find(['\n', '\u{1c}']).unwrap_or(rest.len())
                }
                (None, None) => return rest.to_owned(),
            };
            rest = rest[n..].trim_start_matches(is_space);
        }
    }
}
