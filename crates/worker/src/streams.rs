//! Bytes from files that the user chose, and from addresses of the same origin.

use futures::FutureExt;
use futures::future::{Either, LocalBoxFuture, select};
use js_sys::{Reflect, Uint8Array};
use nox_runtime::{ByteStream, StreamError};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Blob, ReadableStreamDefaultReader, RequestInit, RequestMode, Response, Url,
};

use crate::js;
use crate::platform::sleep_ms;

/// Bytes of a file that are in memory at a time.
const CHUNK_BYTES: f64 = 4_194_304.0;

/// A server that says nothing for so long has gone away.
const SILENCE_LIMIT_MS: f64 = 30_000.0;

/// The bytes of a `File` or `Blob`.
pub(crate) struct BlobStream {
    blob: Blob,
    offset: f64,
}

impl BlobStream {
    pub(crate) fn new(blob: Blob) -> Self {
        Self { blob, offset: 0.0 }
    }

    async fn read(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        let end = (self.offset + CHUNK_BYTES).min(self.blob.size());
        if self.offset >= end {
            return Ok(None);
        }
        let slice = self.blob.slice_with_f64_and_f64(self.offset, end);
        let buffer = match slice {
            Ok(slice) => JsFuture::from(slice.array_buffer()).await,
            Err(error) => Err(error),
        };
        let buffer = buffer.map_err(|error| StreamError::File {
            reason: js::message(&error),
        })?;
        self.offset = end;
        Ok(Some(Uint8Array::new(&buffer).to_vec()))
    }
}

impl ByteStream for BlobStream {
    fn size_bytes(&self) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a file's size is a whole number"
        )]
        let size_bytes = self.blob.size() as u64;
        Some(size_bytes)
    }

    fn next(&mut self) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StreamError>> {
        self.read().boxed_local()
    }
}

/// Asks an address of the same origin for its bytes.
///
/// # Cancel safety
/// Dropping the future, or the stream, ends the transfer.
pub(crate) async fn fetch(url: &str) -> Result<Box<dyn ByteStream>, StreamError> {
    let url = same_origin(url)?;
    let transfer = Transfer::new()?;
    let init = RequestInit::new();
    // Redirects to other origins fail, too.
    init.set_mode(RequestMode::SameOrigin);
    init.set_signal(Some(&transfer.controller.signal()));
    let promise = js::scope().fetch_with_str_and_init(&url, &init);
    let response = within_patience(JsFuture::from(promise));
    let response: Response = response.await?.unchecked_into();
    if !response.ok() {
        return Err(StreamError::Status {
            url,
            status: response.status(),
        });
    }
    let reader = response
        .body()
        .map(|body| body.get_reader().unchecked_into());
    Ok(Box::new(BodyStream {
        reader,
        size_bytes: content_length(&response),
        _transfer: transfer,
    }))
}

/// The address in full, if it is of this worker's origin.
fn same_origin(text: &str) -> Result<String, StreamError> {
    let location = js::scope().location();
    let url = Url::new_with_base(text, &location.href()).map_err(|_| StreamError::InvalidUrl {
        url: text.chars().take(256).collect(),
    })?;
    // An opaque origin is the same as no other, itself included.
    if url.origin() == location.origin() && url.origin() != "null" {
        Ok(url.href())
    } else {
        Err(StreamError::ForeignOrigin { url: url.href() })
    }
}

/// How many bytes will come; a compressed body's header counts others.
fn content_length(response: &Response) -> Option<u64> {
    let headers = response.headers();
    let header = |name: &str| headers.get(name).ok().flatten();
    match header("content-encoding") {
        None => header("content-length")?.parse().ok(),
        Some(_) => None,
    }
}

async fn within_patience(
    answer: impl Future<Output = Result<JsValue, JsValue>>,
) -> Result<JsValue, StreamError> {
    let answer = std::pin::pin!(answer);
    let silence = std::pin::pin!(sleep_ms(SILENCE_LIMIT_MS));
    match select(answer, silence).await {
        Either::Left((Ok(value), _)) => Ok(value),
        Either::Left((Err(error), _)) => Err(StreamError::Network {
            reason: js::message(&error),
        }),
        Either::Right(_) => Err(StreamError::Network {
            reason: format!("nothing came for {} s", SILENCE_LIMIT_MS / 1000.0),
        }),
    }
}

/// Ends a transfer when dropped.
struct Transfer {
    controller: AbortController,
}

impl Transfer {
    fn new() -> Result<Self, StreamError> {
        let controller = AbortController::new().map_err(|error| StreamError::Network {
            reason: js::message(&error),
        })?;
        Ok(Self { controller })
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.controller.abort();
    }
}

/// The bytes of a response.
struct BodyStream {
    /// A response without a body has no bytes.
    reader: Option<ReadableStreamDefaultReader>,
    size_bytes: Option<u64>,
    _transfer: Transfer,
}

impl BodyStream {
    async fn read(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        let Some(reader) = &self.reader else {
            return Ok(None);
        };
        loop {
            let promise = reader.read();
            let read = within_patience(JsFuture::from(promise));
            let read = read.await?;
            let field = |name: &str| Reflect::get(&read, &name.into()).unwrap_or_default();
            if field("done").is_truthy() {
                return Ok(None);
            }
            let chunk = Uint8Array::new(&field("value")).to_vec();
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }
}

impl ByteStream for BodyStream {
    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    fn next(&mut self) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StreamError>> {
        self.read().boxed_local()
    }
}
