//! Ids from the names of people.

/// The longest id that [`user_id`] makes: it has to fit into a file name.
const MAX_USER_ID_BYTES: usize = 64;

/// A name in small ASCII letters and digits, with `_` for every run of anything
/// else; `fallback` when nothing is left. Different names may give the same.
pub fn slugify(name: &str, fallback: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    if slug.ends_with('_') {
        slug.pop();
    }
    if slug.is_empty() {
        slug.push_str(fallback);
    }
    slug
}

/// The id of the user with this name: its [slug](slugify), which old data uses too.
/// A name that a slug can't tell from others, because it has no ASCII letter or
/// digit or is very long, gets a hash of the name behind it.
///
/// The same name always gives the same id. Names that have ASCII letters or digits
/// and differ only in case, punctuation and other letters share one, as they do in
/// old data: whoever makes a new user has to see whether the id is taken.
pub fn user_id(name: &str) -> String {
    const FALLBACK: &str = "user";
    const N_HASH_BYTES: usize = 1 + 16;
    let slug = slugify(name, "");
    let is_lost = slug.is_empty() && !name.trim().is_ascii();
    let mut id = if slug.is_empty() {
        FALLBACK.to_owned()
    } else {
        slug
    };
    if is_lost || id.len() > MAX_USER_ID_BYTES {
        id.truncate(MAX_USER_ID_BYTES - N_HASH_BYTES);
        let name = name.trim().to_lowercase();
        id.push_str(&format!("_{:016x}", fnv1a(name.as_bytes())));
    }
    id
}

/// FNV-1a in 64 bits. Source: draft-eastlake-fnv, section 5.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
