//! The known name that a misspelt one was probably meant to be.

/// Names longer than this are not compared: nobody misspells them by accident.
const MAX_COMPARED_CHARS: usize = 64;

/// The nearest of the known names, if any is near: at most a third of its
/// characters differ. The first one of equals.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name
        .to_lowercase()
        .chars()
        .take(MAX_COMPARED_CHARS + 1)
        .collect();
    if name.len() > MAX_COMPARED_CHARS {
        return None;
    }
    known
        .into_iter()
        .filter_map(|candidate| {
            let chars: Vec<char> = candidate.to_lowercase().chars().collect();
            if chars.len() > MAX_COMPARED_CHARS {
                return None;
            }
            let distance = edit_distance(&name, &chars);
            (distance <= (chars.len() / 3).max(1)).then_some((distance, candidate))
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters have to be put in, left out, replaced or swapped with their
/// neighbour.
fn edit_distance(from: &[char], to: &[char]) -> usize {
    // Row `i` holds the distances of the first `i` characters of `from` to every
    // beginning of `to`; a swap looks two rows back.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = above[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            let is_swap = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            if is_swap {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        let known = ["routes", "options", "persona"];
        for (typed, meant) in [
            ("route", Some("routes")),
            ("Routes", Some("routes")),
            ("ruotes", Some("routes")),
            ("option", Some("options")),
            ("persnoa", Some("persona")),
            ("", None),
            ("temperature", None),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), meant, "{typed}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), known.into_iter()), None);
    }

    #[test]
    fn a_swap_counts_once() {
        let distance = |from: &str, to: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            edit_distance(&chars(from), &chars(to))
        };
        assert_eq!(distance("abcd", "abdc"), 1);
        assert_eq!(distance("abcd", "bad"), 2);
        assert_eq!(distance("", "abc"), 3);
    }
}
