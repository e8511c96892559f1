//! A static file server's part of HTTP/1.1: what to answer to which request. Knows
//! files and headers, no sockets.
//!
//! It is made for this machine alone: anything but GET and HEAD is refused, and so
//! is a request whose `Host` is not the loopback address it was started on, which
//! is what keeps a page elsewhere from reading it by rebinding its own name.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

use crate::compress;

/// Inline scripts, foreign origins, frames and plugins are all shut out; wasm may
/// be compiled.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
     worker-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; \
     font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// How a folder is served.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Absolute, without symlinks.
    root: PathBuf,
    /// Looked through before the root.
    mounts: Vec<Mount>,
    /// Exactly what `Host` may say.
    hosts: Vec<String>,
    /// Whether pages get SharedArrayBuffer, which threads need.
    isolated: bool,
}

/// A folder that is served under a path of the site. Where both have a file, the
/// folder's is taken.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    /// Plain names.
    place: PathBuf,
    /// Absolute, without symlinks.
    root: PathBuf,
}

impl FromStr for Mount {
    type Err = anyhow::Error;

    /// Reads `PATH=DIR`.
    fn from_str(text: &str) -> Result<Self> {
        let (place, dir) = text.split_once('=').context("PATH=DIR is expected")?;
        let place = relative_path(&format!("/{place}"))
            .filter(|place| !place.as_os_str().is_empty())
            .with_context(|| format!("`{place}` is no path inside the site"))?;
        let root = Path::new(dir)
            .canonicalize()
            .with_context(|| format!("nothing to serve at {dir}"))?;
        Ok(Self { place, root })
    }
}

/// The parts of a request that decide the answer.
#[derive(Debug, Default, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As sent: percent-encoded, with its query.
    pub(crate) target: String,
    pub(crate) host: Option<String>,
    pub(crate) accept_encoding: String,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) range: Option<String>,
    /// The client will not reuse the connection.
    pub(crate) close: bool,
}

/// An answer, its body still on disk.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

/// What follows the headers.
#[derive(Debug)]
pub(crate) enum Body {
    Text(String),
    File {
        path: PathBuf,
        offset: u64,
        size_bytes: u64,
    },
}

impl Body {
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File { size_bytes, .. } => *size_bytes,
        }
    }
}

/// Which bytes of a file were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Whole,
    Part { first: u64, size_bytes: u64 },
    Unsatisfiable,
}

impl Site {
    /// Serves `root` to whoever calls it by a loopback name and this `port`.
    ///
    /// # Errors
    /// `root` is not there.
    pub(crate) fn new(root: &Path, port: u16, isolated: bool) -> std::io::Result<Self> {
        let names = ["127.0.0.1", "localhost"];
        let mut hosts: Vec<_> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == 80 {
            // HTTP's own port is left out of the header.
            hosts.extend(names.map(str::to_owned));
        }
        Ok(Self {
            root: root.canonicalize()?,
            mounts: Vec::new(),
            hosts,
            isolated,
        })
    }

    /// Serves these folders too.
    pub(crate) fn with_mounts(mut self, mounts: Vec<Mount>) -> Self {
        self.mounts = mounts;
        self
    }

    /// The answer to `request`.
    pub(crate) fn answer(&self, request: &Request) -> Response {
        let mut response = self.route(request);
        response.headers.extend(self.fixed_headers());
        response
    }

    fn route(&self, request: &Request) -> Response {
        if !request
            .host
            .as_ref()
            .is_some_and(|host| self.hosts.contains(host))
        {
            return Response::text(421, "This server answers to its loopback address only.");
        }
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            let mut response = Response::text(405, "Only GET and HEAD are served.");
            response.headers.push(("Allow", "GET, HEAD".to_owned()));
            return response;
        }
        match self.find(&request.target) {
            Some(path) => file_response(&path, request),
            None => Response::text(404, "There is no such file."),
        }
    }

    fn fixed_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ];
        if self.isolated {
            headers.push(("Cross-Origin-Opener-Policy", "same-origin"));
            headers.push(("Cross-Origin-Embedder-Policy", "require-corp"));
        }
        headers
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect()
    }

    /// The file that a request target names, if it lies inside a mount or the root.
    fn find(&self, target: &str) -> Option<PathBuf> {
        let relative = relative_path(target)?;
        let is_folder = target.split('?').next()?.ends_with('/');
        let mounted = self.mounts.iter().find_map(|mount| {
            let inside = relative.strip_prefix(&mount.place).ok()?;
            file_inside(&mount.root, inside, is_folder)
        });
        mounted.or_else(|| file_inside(&self.root, &relative, is_folder))
    }
}

fn file_inside(root: &Path, relative: &Path, is_folder: bool) -> Option<PathBuf> {
    let mut path = root.join(relative);
    if path.is_dir() && is_folder {
        path.push("index.html");
    }
    // Resolving symlinks last shows where the file really is.
    let real = path.canonicalize().ok()?;
    (real.starts_with(root) && real.is_file()).then_some(real)
}

impl Response {
    pub(crate) fn text(status: u16, text: &str) -> Self {
        let headers = vec![
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
            ("Cache-Control", "no-store".to_owned()),
        ];
        Self {
            status,
            headers,
            body: Body::Text(format!("{text}\n")),
        }
    }

    fn empty(status: u16, headers: Vec<(&'static str, String)>) -> Self {
        Self {
            status,
            headers,
            body: Body::Text(String::new()),
        }
    }
}

/// The words for a status line.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// A request target as a path of plain names; `None` for one that could lead out of
/// a folder, or is not text.
fn relative_path(target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let decoded = percent_decoded(path)?;
    if decoded.contains(['\\', '\0', ':']) {
        return None;
    }
    let relative = PathBuf::from(decoded);
    let plain = relative.components().all(|part| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
        _ => false,
    });
    plain.then_some(relative)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (hex_digit(*rest.next()?)?, hex_digit(*rest.next()?)?);
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn file_response(path: &Path, request: &Request) -> Response {
    let wants_part = request.range.is_some();
    let compressed = compress::path_beside(path);
    let brotli = !wants_part && accepts_brotli(&request.accept_encoding) && compressed.is_file();
    let source = if brotli { &compressed } else { path };
    let Some((size_bytes, tag)) = describe(source) else {
        return Response::text(404, "There is no such file.");
    };
    let mut headers = vec![
        ("Content-Type", mime_type(path).to_owned()),
        ("Cache-Control", "no-cache".to_owned()),
        ("Vary", "Accept-Encoding".to_owned()),
        ("ETag", tag.clone()),
    ];
    if request
        .if_none_match
        .as_ref()
        .is_some_and(|tags| names_tag(tags, &tag))
    {
        return Response::empty(304, headers);
    }
    if brotli {
        headers.push(("Content-Encoding", "br".to_owned()));
    } else {
        headers.push(("Accept-Ranges", "bytes".to_owned()));
    }
    // A part of another version than the one asked about would be useless.
    let same_version = request
        .if_range
        .as_ref()
        .is_none_or(|wanted| *wanted == tag);
    let range = request.range.as_deref().filter(|_| same_version);
    with_range(
        source,
        size_bytes,
        headers,
        range.map_or(Range::Whole, |r| parse_range(r, size_bytes)),
    )
}

fn with_range(
    source: &Path,
    size_bytes: u64,
    mut headers: Vec<(&'static str, String)>,
    range: Range,
) -> Response {
    let body = |offset, size_bytes| Body::File {
        path: source.to_owned(),
        offset,
        size_bytes,
    };
    match range {
        Range::Whole => Response {
            status: 200,
            headers,
            body: body(0, size_bytes),
        },
        Range::Part {
            first,
            size_bytes: part,
        } => {
            let last = first + part - 1;
            headers.push((
                "Content-Range",
                format!("bytes {first}-{last}/{size_bytes}"),
            ));
            Response {
                status: 206,
                headers,
                body: body(first, part),
            }
        }
        Range::Unsatisfiable => {
            headers.push(("Content-Range", format!("bytes */{size_bytes}")));
            Response::empty(416, headers)
        }
    }
}

/// Size and entity tag. Modification times have nanoseconds here, and the site task
/// leaves unchanged files alone, so the two tell versions apart.
fn describe(path: &Path) -> Option<(u64, String)> {
    let metadata = path.metadata().ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let form = if path.extension().is_some_and(|end| end == "br") {
        "-br"
    } else {
        ""
    };
    Some((
        metadata.len(),
        format!("\"{:x}-{:x}{form}\"", modified.as_nanos(), metadata.len()),
    ))
}

fn names_tag(list: &str, tag: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

fn accepts_brotli(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("br"));
        let refused = parts.any(|parameter| {
            parameter
                .strip_prefix("q=")
                .and_then(|q| q.parse::<f32>().ok())
                == Some(0.0)
        });
        named && !refused
    })
}

/// One range is served; several at once, or what is not a byte range, get the whole
/// file, as HTTP allows.
fn parse_range(value: &str, size_bytes: u64) -> Range {
    let Some((first, last)) = value
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Range::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let (first, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last < first => return Range::Whole,
        (Ok(first), Ok(last)) => (first, last.saturating_add(1).min(size_bytes)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size_bytes),
        (Err(_), Ok(count)) if first.is_empty() => (size_bytes.saturating_sub(count), size_bytes),
        _ => return Range::Whole,
    };
    if first >= end {
        return Range::Unsatisfiable;
    }
    Range::Part {
        first,
        size_bytes: end - first,
    }
}

fn mime_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json; charset=utf-8",
        Some("webmanifest") => "application/manifest+json; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_leads_out_of_the_folder_names_nothing() {
        for target in [
            "/../secret",
            "/a/../../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/a%5c..%5csecret",
            "//etc/passwd",
            "/%2Fetc/passwd",
            "/.git/config",
            "/a/.hidden",
            "/nul%00byte",
            "/bad%zz",
            "/cut%2",
            "/c:/windows",
            "http://elsewhere/x",
            "*",
        ] {
            assert_eq!(relative_path(target), None, "{target}");
        }
        assert_eq!(relative_path("/"), Some(PathBuf::new()));
        assert_eq!(
            relative_path("/a%20b/c.js?v=1"),
            Some(PathBuf::from("a b/c.js"))
        );
    }

    #[test]
    fn ranges_are_held_to_the_file() {
        let part = |first, size_bytes| Range::Part { first, size_bytes };
        let cases = [
            ("bytes=0-9", part(0, 10)),
            ("bytes=90-", part(90, 10)),
            ("bytes=90-1000", part(90, 10)),
            ("bytes=0-18446744073709551615", part(0, 100)),
            ("bytes=-5", part(95, 5)),
            ("bytes=-500", part(0, 100)),
            ("bytes=100-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=9-3", Range::Whole),
            ("bytes=0-1,5-6", Range::Whole),
            ("bytes=x-", Range::Whole),
            ("lines=0-1", Range::Whole),
        ];
        for (value, expected) in cases {
            assert_eq!(parse_range(value, 100), expected, "{value}");
        }
    }

    #[test]
    fn brotli_is_sent_only_to_those_who_take_it() {
        assert!(accepts_brotli("gzip, deflate, br, zstd"));
        assert!(accepts_brotli("BR;q=0.5"));
        assert!(!accepts_brotli("br;q=0, gzip"));
        assert!(!accepts_brotli("gzip, brotli"));
        assert!(!accepts_brotli(""));
    }
}
