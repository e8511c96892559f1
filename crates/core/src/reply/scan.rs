//! Finds tags in a text that streams in.
//!
//! A pattern is written in lower case; case does not count. In it a blank stands
//! for one character of white space and `~` for any number of them. It knows
//! nothing of what a tag means.

use std::collections::VecDeque;

use super::work;

/// A tag's beginning that gets longer than this is text: white space inside a tag
/// must not hold a reply back.
const MAX_TAG_CHARS: usize = 64;

/// How many beginnings may wait for what follows an inner tag.
const MAX_BROKEN_OFF: usize = 16;

/// What a pattern stands for, with the pattern.
pub(crate) type Tags<T> = &'static [(&'static str, T)];

/// White space: Unicode's, and the four information separators, which are white
/// space by their bidirectional class.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A character without its case. Four letters fold to ASCII ones.
fn fold(c: char) -> char {
    match c {
        'İ' | 'ı' => 'i',
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// The rest of a pattern behind `c`; `None` where `c` does not fit.
fn advance(pattern: &'static str, c: char) -> Option<&'static str> {
    work::count(1);
    let mut rest = pattern;
    loop {
        let element = rest.chars().next()?;
        let behind = &rest[element.len_utf8()..];
        match element {
            '~' if is_space(c) => return Some(rest),
            '~' => rest = behind,
            ' ' => return is_space(c).then_some(behind),
            element => return (fold(c) == element).then_some(behind),
        }
    }
}

/// Text that may be the beginning of a tag.
#[derive(Debug, Clone)]
pub(super) struct Candidate<T> {
    pub(super) text: String,
    n_chars: usize,
    /// What the patterns that still fit want to see, and what they stand for.
    open: Vec<(&'static str, T)>,
    /// Whether a backtick stood in front of it.
    after_backtick: bool,
}

/// What became of a candidate with one more character.
pub(super) enum Step<T> {
    /// It may still become a tag.
    Open,
    /// It is one.
    Whole(T),
    /// It is none; the character was not taken.
    Dead,
}

impl<T: Copy> Candidate<T> {
    /// A candidate that begins with `c`, if a pattern does.
    pub(super) fn begin(tags: Tags<T>, c: char) -> Option<Self> {
        let open: Vec<_> = tags
            .iter()
            .filter_map(|&(pattern, tag)| Some((advance(pattern, c)?, tag)))
            .collect();
        (!open.is_empty()).then(|| Self {
            text: c.to_string(),
            n_chars: 1,
            open,
            after_backtick: false,
        })
    }

    pub(super) fn push(&mut self, c: char) -> Step<T> {
        if self.n_chars == MAX_TAG_CHARS {
            return Step::Dead;
        }
        let fitting = self.open.iter();
        let open: Vec<_> = fitting
            .filter_map(|&(pattern, tag)| Some((advance(pattern, c)?, tag)))
            .collect();
        if open.is_empty() {
            // It stays as it was: it may go on behind a tag that is deleted.
            return Step::Dead;
        }
        self.open = open;
        self.text.push(c);
        self.n_chars += 1;
        let whole = self.open.iter().find(|(pattern, _)| pattern.is_empty());
        whole.map_or(Step::Open, |&(_, tag)| Step::Whole(tag))
    }
}

/// A piece of the text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a, T> {
    /// Text that belongs to no tag.
    Text(&'a str),
    /// A tag, and how it was written.
    Tag(T, &'a str),
}

/// Cuts a stream of text into tags and what stands between them.
///
/// What it gives out does not depend on how the input was cut. A tag right between
/// two backticks is text: it is being talked about.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<T: 'static> {
    tags: Tags<T>,
    /// Whether what stands in front of a tag and behind it may be a tag together.
    rejoins: bool,
    /// Beginnings of tags, each broken off by the next one.
    broken_off: VecDeque<Candidate<T>>,
    current: Option<Candidate<T>>,
    /// `current` is whole and stands behind a backtick: the next character decides.
    undecided: Option<T>,
    last: char,
}

impl<T: Copy> Scanner<T> {
    /// A scanner for tags that mean something.
    pub(crate) fn new(tags: Tags<T>) -> Self {
        Self {
            tags,
            rejoins: false,
            broken_off: VecDeque::new(),
            current: None,
            undecided: None,
            last: '\0',
        }
    }

    /// A scanner for tags that are to be deleted. One that arises by deleting
    /// another is found too.
    pub(super) fn for_deletion(tags: Tags<T>) -> Self {
        Self {
            rejoins: true,
            ..Self::new(tags)
        }
    }

    pub(crate) fn push(&mut self, text: &str, emit: &mut impl FnMut(Event<'_, T>)) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let n_plain = self.plain_length(rest);
            let (taken, behind) = rest.split_at(n_plain.max(c.len_utf8()));
            if n_plain > 0 {
                emit(Event::Text(taken));
            } else {
                self.take_in(c, emit);
            }
            self.last = taken.chars().next_back().unwrap_or(c);
            rest = behind;
        }
    }

    /// How much at the beginning of `text` can be of no tag.
    fn plain_length(&self, text: &str) -> usize {
        if self.current.is_some() {
            return 0;
        }
        let begins_tag = |c| self.tags.iter().any(|(pattern, _)| pattern.starts_with(c));
        let n_plain = text.find(begins_tag).unwrap_or(text.len());
        work::count(n_plain as u64);
        n_plain
    }

    /// Ends the text.
    pub(crate) fn finish(&mut self, emit: &mut impl FnMut(Event<'_, T>)) {
        if let Some(tag) = self.undecided.take() {
            self.complete(tag, emit);
        }
        self.flush(emit);
    }

    fn take_in(&mut self, c: char, emit: &mut impl FnMut(Event<'_, T>)) {
        match self.undecided.take() {
            Some(_) if c == '`' => self.flush(emit),
            Some(tag) => self.complete(tag, emit),
            None => {}
        }
        if let Some(candidate) = &mut self.current {
            match candidate.push(c) {
                Step::Open => return,
                Step::Whole(tag) if candidate.after_backtick => {
                    self.undecided = Some(tag);
                    return;
                }
                Step::Whole(tag) => return self.complete(tag, emit),
                Step::Dead => {}
            }
        }
        let next = Candidate::begin(self.tags, c).map(|candidate| Candidate {
            after_backtick: self.last == '`',
            ..candidate
        });
        if next.is_some() && self.rejoins {
            self.broken_off.extend(self.current.take());
            if self.broken_off.len() > MAX_BROKEN_OFF
                && let Some(oldest) = self.broken_off.pop_front()
            {
                emit(Event::Text(&oldest.text));
            }
        } else {
            self.flush(emit);
        }
        if next.is_none() {
            emit(Event::Text(c.encode_utf8(&mut [0; 4])));
        }
        self.current = next;
    }

    /// Gives `current` out as a tag.
    fn complete(&mut self, tag: T, emit: &mut impl FnMut(Event<'_, T>)) {
        let Some(whole) = self.current.take() else {
            return;
        };
        emit(Event::Tag(tag, &whole.text));
        self.current = self.broken_off.pop_back();
    }

    /// Gives everything that waits out as text.
    fn flush(&mut self, emit: &mut impl FnMut(Event<'_, T>)) {
        for candidate in self.broken_off.drain(..).chain(self.current.take()) {
            emit(Event::Text(&candidate.text));
        }
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let waiting = self.broken_off.iter().chain(&self.current);
        waiting.map(|candidate| candidate.text.len()).sum()
    }
}
