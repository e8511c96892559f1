//! `cargo xtask serve` and the last step of `demo`: a folder on a loopback port, a
//! thread a connection. For a person's own browser and for tests, not for a network.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::http::{Body, Mount, Request, Response, Site, reason};

const DEFAULT_PORT: u16 = 8787;
/// Ports tried, from the default one up, when none was asked for.
const PORTS_TRIED: u16 = 20;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
const CONNECTIONS_MAX: usize = 128;
/// An idle connection is dropped after this.
const IDLE: Duration = Duration::from_secs(30);

/// How `demo` and `serve` listen.
#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// The port; 0 takes any free one. Without this, 8787 or the next free one
    #[arg(long)]
    port: Option<u16>,
    /// Leave out the COOP and COEP headers, as most hosts do: no threads then
    #[arg(long)]
    no_isolation: bool,
    /// Open the page in the default browser
    #[arg(long)]
    open: bool,
}

/// Serves `dir`, and the `mounts` in front of it, until the process is ended.
///
/// Standard output gets a sentence with the address and, if `--port 0` was asked
/// for, then the chosen port alone on a line.
///
/// # Errors
/// `dir` is not there, or the port is taken.
pub(crate) fn run(options: &ServeOptions, dir: &Path, mounts: Vec<Mount>) -> Result<()> {
    let listener = listen(options.port)?;
    let port = listener.local_addr()?.port();
    let site = Site::new(dir, port, !options.no_isolation)
        .with_context(|| format!("nothing to serve at {}", dir.display()))?
        .with_mounts(mounts);
    let address = format!("http://127.0.0.1:{port}/");
    println!("Noxics is at {address} (Ctrl-C stops it)");
    if options.port == Some(0) {
        println!("{port}");
    }
    io::stdout().flush()?;
    if options.open {
        open_browser(&address);
    }
    serve(&listener, site);
    Ok(())
}

fn listen(port: Option<u16>) -> Result<TcpListener> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = port {
        return bind(port).with_context(|| format!("cannot listen on 127.0.0.1:{port}"));
    }
    for port in DEFAULT_PORT..DEFAULT_PORT + PORTS_TRIED {
        match bind(port) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                eprintln!("port {port} is taken, trying the next one");
            }
            Err(error) => return Err(error).context(format!("cannot listen on 127.0.0.1:{port}")),
        }
    }
    bail!(
        "ports {DEFAULT_PORT} to {} are all taken; --port names another",
        DEFAULT_PORT + PORTS_TRIED - 1
    )
}

fn open_browser(address: &str) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    if Command::new(opener).arg(address).spawn().is_err() {
        eprintln!("{opener} is not there; open {address} yourself");
    }
}

fn serve(listener: &TcpListener, site: Site) {
    let site = Arc::new(site);
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        let (site, open) = (Arc::clone(&site), Arc::clone(&open));
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            // The client may be gone already; either way it gets no more than this.
            let _ = send(
                &stream,
                &Response::text(503, "Too many connections."),
                false,
                true,
            );
            continue;
        }
        std::thread::spawn(move || {
            // A client that goes away in the middle is nobody's error.
            let _ = converse(&stream, &site);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Answers the requests of one connection until either side has had enough.
fn converse(stream: &TcpStream, site: &Site) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let head = match read_head(&mut reader)? {
            Head::End => return Ok(()),
            Head::TooLarge => {
                return send(
                    stream,
                    &Response::text(431, "The headers are too large."),
                    false,
                    true,
                );
            }
            Head::Complete(bytes) => bytes,
        };
        let Some(request) = parse(&head) else {
            return send(
                stream,
                &Response::text(400, "This is not an HTTP request."),
                false,
                true,
            );
        };
        // The body of a refused method is not read: what follows could be anything.
        let close = request.close || !matches!(request.method.as_str(), "GET" | "HEAD");
        send(
            stream,
            &site.answer(&request),
            request.method == "HEAD",
            close,
        )?;
        if close {
            return Ok(());
        }
    }
}

enum Head {
    Complete(Vec<u8>),
    TooLarge,
    /// The client closed the connection between requests.
    End,
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    let mut head = Vec::new();
    loop {
        let room = (HEADER_BYTES_MAX - head.len()) as u64;
        let read_bytes = reader.by_ref().take(room).read_until(b'\n', &mut head)?;
        if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
            return Ok(Head::Complete(head));
        }
        if head.len() >= HEADER_BYTES_MAX {
            return Ok(Head::TooLarge);
        }
        if read_bytes == 0 {
            return Ok(Head::End);
        }
    }
}

fn parse(head: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    if !parsed.parse(head).ok()?.is_complete() {
        return None;
    }
    let mut request = Request {
        method: parsed.method?.to_owned(),
        target: parsed.path?.to_owned(),
        close: parsed.version == Some(0),
        ..Request::default()
    };
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).ok()?.trim();
        match header.name.to_ascii_lowercase().as_str() {
            // Two of them, and it is unclear which one a check should believe.
            "host" if request.host.is_some() => return None,
            "host" => request.host = Some(value.to_ascii_lowercase()),
            "accept-encoding" => value.clone_into(&mut request.accept_encoding),
            "if-none-match" => request.if_none_match = Some(value.to_owned()),
            "if-range" => request.if_range = Some(value.to_owned()),
            "range" => request.range = Some(value.to_owned()),
            "connection" => request.close |= value.eq_ignore_ascii_case("close"),
            // A body nobody reads must not be taken for the next request.
            "content-length" if value != "0" => request.close = true,
            "transfer-encoding" => request.close = true,
            _ => {}
        }
    }
    Some(request)
}

fn send(
    mut stream: &TcpStream,
    response: &Response,
    head_only: bool,
    close: bool,
) -> io::Result<()> {
    let file = match &response.body {
        Body::File { path, offset, .. } if !head_only => {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(*offset))?;
            Some(file)
        }
        _ => None,
    };
    let mut head = format!(
        "HTTP/1.1 {} {}\r\n",
        response.status,
        reason(response.status)
    );
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if response.status != 304 {
        head.push_str(&format!(
            "Content-Length: {}\r\n",
            response.body.size_bytes()
        ));
    }
    head.push_str(if close {
        "Connection: close\r\n\r\n"
    } else {
        "\r\n"
    });
    stream.write_all(head.as_bytes())?;
    match (&response.body, file) {
        (Body::File { size_bytes, .. }, Some(file)) => send_file(stream, file, *size_bytes)?,
        (Body::Text(text), None) if !head_only => stream.write_all(text.as_bytes())?,
        _ => {}
    }
    stream.flush()
}

fn send_file(mut stream: &TcpStream, file: File, size_bytes: u64) -> io::Result<()> {
    let sent_bytes = io::copy(&mut file.take(size_bytes), &mut stream)?;
    if sent_bytes == size_bytes {
        return Ok(());
    }
    // Rewritten while it was being sent: the promised length cannot be kept.
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the file became shorter",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::path::PathBuf;

    /// A served folder, gone again at the end of a test.
    struct Served {
        dir: PathBuf,
        address: SocketAddr,
    }

    impl Served {
        fn new(name: &str, isolated: bool) -> Self {
            let dir =
                std::env::temp_dir().join(format!("noxics-serve-{name}-{}", std::process::id()));
            let root = dir.join("root");
            std::fs::create_dir_all(root.join("runtime")).unwrap();
            std::fs::create_dir_all(dir.join("other")).unwrap();
            std::fs::write(dir.join("secret.txt"), "secret").unwrap();
            std::fs::write(dir.join("other/a.wasm"), "other").unwrap();
            std::fs::write(dir.join("other/index.html"), "<p>other</p>").unwrap();
            std::fs::write(root.join("index.html"), "<p>page</p>").unwrap();
            std::fs::write(root.join("runtime/a.wasm"), (0..100).collect::<Vec<u8>>()).unwrap();
            std::fs::write(root.join("runtime/a.wasm.br"), "compressed").unwrap();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let other = dir.join("other");
            let mounts = ["runtime/other", "pages"]
                .map(|place| format!("{place}={}", other.display()).parse().unwrap());
            let site = Site::new(&root, address.port(), isolated)
                .unwrap()
                .with_mounts(mounts.into());
            std::thread::spawn(move || serve(&listener, site));
            Self { dir, address }
        }

        /// Sends bytes and reads until the server closes the connection.
        fn exchange(&self, request: &str) -> (String, Vec<u8>) {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            let split = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let body = all.split_off(split);
            (String::from_utf8(all).unwrap(), body)
        }

        fn request(&self, line: &str, headers: &str) -> (String, Vec<u8>) {
            let host = self.address;
            self.exchange(&format!(
                "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
            ))
        }

        fn get(&self, target: &str, headers: &str) -> (String, Vec<u8>) {
            self.request(&format!("GET {target}"), headers)
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
        head.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    #[test]
    fn serves_the_page_isolated_and_locked_down() {
        let served = Served::new("page", true);
        let (head, body) = served.get("/", "");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, b"<p>page</p>");
        assert_eq!(
            header(&head, "Content-Type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(
            header(&head, "Cross-Origin-Opener-Policy"),
            Some("same-origin")
        );
        assert_eq!(
            header(&head, "Cross-Origin-Embedder-Policy"),
            Some("require-corp")
        );
        assert_eq!(header(&head, "X-Content-Type-Options"), Some("nosniff"));
        let policy = header(&head, "Content-Security-Policy").unwrap();
        assert!(
            policy.contains("script-src 'self' 'wasm-unsafe-eval';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe-inline"), "{policy}");
    }

    #[test]
    fn leaves_isolation_out_when_asked() {
        let served = Served::new("plain", false);
        let (head, _) = served.get("/", "");
        assert_eq!(header(&head, "Cross-Origin-Opener-Policy"), None);
        assert_eq!(header(&head, "Cross-Origin-Embedder-Policy"), None);
    }

    #[test]
    fn nothing_outside_the_folder_can_be_had() {
        let served = Served::new("traversal", true);
        #[cfg(unix)]
        std::os::unix::fs::symlink(
            served.dir.join("secret.txt"),
            served.dir.join("root/link.txt"),
        )
        .unwrap();
        for target in [
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/runtime/..%2f..%2fsecret.txt",
            "/link.txt",
        ] {
            let (head, body) = served.get(target, "");
            assert!(head.starts_with("HTTP/1.1 404"), "{target}: {head}");
            assert!(
                !String::from_utf8_lossy(&body).contains("secret"),
                "{target}"
            );
        }
    }

    #[test]
    fn a_mount_lies_in_front_of_the_site_and_keeps_to_its_folder() {
        let served = Served::new("mount", true);
        assert_eq!(served.get("/runtime/other/a.wasm", "").1, b"other");
        assert_eq!(served.get("/pages/", "").1, b"<p>other</p>");
        assert_eq!(served.get("/runtime/a.wasm", "").1.len(), 100);
        for target in [
            "/pages/../secret.txt",
            "/pages/..%2fsecret.txt",
            "/pagesa.wasm",
        ] {
            let (head, _) = served.get(target, "");
            assert!(head.starts_with("HTTP/1.1 404"), "{target}: {head}");
        }
        for wrong in ["pages", "../up=.", "=.", "pages=/no/such/folder"] {
            assert!(wrong.parse::<Mount>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_hosts_are_turned_away() {
        let served = Served::new("host", true);
        let port = served.address.port();
        let ask = |hosts: &str| {
            served
                .exchange(&format!(
                    "GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"
                ))
                .0
        };
        let refused = [
            "Host: evil.example\r\n".to_owned(),
            format!("Host: evil.example:{port}\r\n"),
            "Host: 127.0.0.1\r\n".to_owned(),
            "Host: 127.0.0.1:1\r\n".to_owned(),
            String::new(),
        ];
        for hosts in refused {
            assert!(ask(&hosts).starts_with("HTTP/1.1 421"), "{hosts}");
        }
        let twice = format!("Host: localhost:{port}\r\nHost: evil.example\r\n");
        assert!(ask(&twice).starts_with("HTTP/1.1 400"));
        assert!(ask(&format!("Host: LocalHost:{port}\r\n")).starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn a_range_gets_its_bytes_uncompressed() {
        let served = Served::new("range", true);
        let (head, body) = served.get(
            "/runtime/a.wasm",
            "Range: bytes=10-19\r\nAccept-Encoding: br\r\n",
        );
        assert!(
            head.starts_with("HTTP/1.1 206 Partial Content\r\n"),
            "{head}"
        );
        assert_eq!(header(&head, "Content-Range"), Some("bytes 10-19/100"));
        assert_eq!(header(&head, "Content-Encoding"), None);
        assert_eq!(body, (10..20).collect::<Vec<u8>>());

        let (head, body) = served.get("/runtime/a.wasm", "Range: bytes=100-\r\n");
        assert!(head.starts_with("HTTP/1.1 416"), "{head}");
        assert_eq!(header(&head, "Content-Range"), Some("bytes */100"));
        assert_eq!(body, b"");

        let stale = "Range: bytes=10-19\r\nIf-Range: \"old\"\r\n";
        let (head, body) = served.get("/runtime/a.wasm", stale);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(body.len(), 100);
    }

    #[test]
    fn brotli_and_plain_have_tags_of_their_own() {
        let served = Served::new("brotli", true);
        let (packed, body) = served.get("/runtime/a.wasm", "Accept-Encoding: gzip, br\r\n");
        assert_eq!(body, b"compressed");
        assert_eq!(header(&packed, "Content-Encoding"), Some("br"));
        assert_eq!(header(&packed, "Content-Type"), Some("application/wasm"));
        assert_eq!(header(&packed, "Vary"), Some("Accept-Encoding"));
        let (plain, body) = served.get("/runtime/a.wasm", "");
        assert_eq!(body.len(), 100);
        assert_ne!(header(&plain, "ETag"), header(&packed, "ETag"));
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let served = Served::new("etag", true);
        let (head, _) = served.get("/", "");
        let tag = header(&head, "ETag").unwrap();
        let (head, body) = served.get("/", &format!("If-None-Match: \"x\", W/{tag}\r\n"));
        assert!(head.starts_with("HTTP/1.1 304"), "{head}");
        assert_eq!(body, b"");
        let (head, _) = served.get("/", "If-None-Match: \"x\"\r\n");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }

    #[test]
    fn head_sends_headers_alone_and_other_methods_are_refused() {
        let served = Served::new("methods", true);
        let (head, body) = served.request("HEAD /", "");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(header(&head, "Content-Length"), Some("11"));
        assert_eq!(body, b"");
        let (head, _) = served.request("POST /", "Content-Length: 0\r\n");
        assert!(head.starts_with("HTTP/1.1 405"), "{head}");
        assert_eq!(header(&head, "Allow"), Some("GET, HEAD"));
    }

    #[test]
    fn a_connection_carries_several_requests() {
        let served = Served::new("keep-alive", true);
        let one = format!("GET / HTTP/1.1\r\nHost: {}\r\n", served.address);
        let (_, rest) = served.exchange(&format!("{one}\r\n{one}Connection: close\r\n\r\n"));
        let rest = String::from_utf8(rest).unwrap();
        assert_eq!(rest.matches("<p>page</p>").count(), 2, "{rest}");
    }

    #[test]
    fn broken_requests_are_answered_and_end_the_connection() {
        let served = Served::new("broken", true);
        assert!(
            served
                .exchange("nonsense\r\n\r\n")
                .0
                .starts_with("HTTP/1.1 400")
        );
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(HEADER_BYTES_MAX));
        let mut stream = TcpStream::connect(served.address).unwrap();
        // The server may hang up before it has read everything.
        let _ = stream.write_all(endless.as_bytes());
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
    }

    #[test]
    fn a_taken_port_is_an_error_only_when_it_was_asked_for() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = listen(Some(port)).unwrap_err();
        assert!(
            format!("{error:#}").contains(&port.to_string()),
            "{error:#}"
        );
    }
}
