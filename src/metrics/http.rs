//! Enough of HTTP/1.1 (RFC 9112) to be scraped: requests in, responses out, no sockets.
//!
//! # Why so
//! A metrics port answers `GET` of two paths, without bodies, to a client at a time. `httparse` reads the request,
//! which is where a parser can be fooled; what is left is small enough to be right. A web framework would bring a
//! runtime, and threads beside the loop.
//!
//! # What is answered
//! `GET` and `HEAD` of `/metrics` and `/healthz`; 404 for other paths, 405 for other methods, 400 for what is no
//! request, 431 for a head that is too long, 505 for other versions. Connections are kept open as HTTP/1.1 says;
//! they are closed after a fault, after a request that announces a body (it is not read, so what follows
//! would be taken for a request), and if the client asks for it.
//!
//! # Bounds
//! [`HEAD_SIZE_MAX`] bytes and [`HEADER_COUNT_MAX`] fields of a request; one response at a time: further
//! requests wait until it is sent. A request must be complete [`REQUEST_TIME_MAX`] after its first byte, a response
//! must move within [`STALL_MAX`], and a connection without a request is closed after [`SILENCE_MAX`].
//!
//! # Threads
//! A session belongs to its connection, on the control thread.
//!
//! # Leaves out
//! `Date` (no wall clock comes down here; RFC 9110 section 6.6.1 lets a server without one leave it out), compression,
//! OpenMetrics.

use crate::sync::Nanos;

/// Longest head of a request: Prometheus' is some 300 bytes.
pub const HEAD_SIZE_MAX: usize = 8 << 10;

/// Most header fields of a request.
pub const HEADER_COUNT_MAX: usize = 64;

/// From the first byte of a request to its last.
pub const REQUEST_TIME_MAX: Nanos = Nanos::from_secs(10);

/// A response of which no byte could be sent for so long.
pub const STALL_MAX: Nanos = Nanos::from_secs(10);

/// A connection on which nothing happens. Prometheus scrapes once a minute by default.
pub const SILENCE_MAX: Nanos = Nanos::from_secs(300);

/// `Content-Type` of Prometheus' text format.
const METRICS_TYPE: &str = prometheus::TEXT_FORMAT;
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// What was done for one connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HttpStats {
    /// Scrapes answered.
    pub scrapes: u64,
    /// Errors answered.
    pub errors: u64,
}

/// One connection's state.
#[derive(Debug)]
pub struct HttpSession {
    input: Vec<u8>,
    output: Vec<u8>,
    output_done: usize,
    is_closing: bool,
    /// When the first byte of the request under way came.
    request_since: Option<Nanos>,
    /// When something last happened.
    last_active: Nanos,
    stats: HttpStats,
}

/// What a response says.
struct Response<'a> {
    status: &'static str,
    content_type: &'static str,
    body: &'a str,
    is_head: bool,
    extra: &'static str,
}

impl<'a> Response<'a> {
    fn text(status: &'static str, body: &'a str) -> Response<'a> {
        Response { status, content_type: TEXT_TYPE, body, is_head: false, extra: "" }
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Metrics,
    Health,
    Elsewhere,
}

/// A request as far as it matters.
#[derive(PartialEq, Eq, Debug)]
struct Head {
    /// Bytes it takes.
    size: usize,
    method: Method,
    route: Route,
    is_last: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Method {
    Get,
    Head,
    Other,
}

/// Why there is no request to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HeadError {
    Incomplete,
    Malformed,
    TooLong,
    Version,
}

impl HttpSession {
    /// A new connection's session.
    pub fn new(now: Nanos) -> HttpSession {
        HttpSession {
            input: Vec::new(),
            output: Vec::new(),
            output_done: 0,
            is_closing: false,
            request_since: None,
            last_active: now,
            stats: HttpStats::default(),
        }
    }

    /// Takes what the peer sent. Call [`HttpSession::answer_next`] until it returns false before taking more.
    pub fn receive(&mut self, bytes: &[u8], now: Nanos) {
        if self.is_closing {
            return;
        }
        self.last_active = now;
        self.input.extend_from_slice(bytes);
        if !self.input.is_empty() && self.request_since.is_none() {
            self.request_since = Some(now);
        }
    }

    /// Answers the next complete request, if there is one and all of the response before is sent, and says so.
    /// `metrics` is called for a scrape.
    pub fn answer_next(&mut self, now: Nanos, metrics: &mut dyn FnMut() -> String) -> bool {
        if self.is_closing || !self.output().is_empty() || self.input.is_empty() {
            return false;
        }
        match read_head(&self.input) {
            Err(HeadError::Incomplete) => return false,
            Err(error) => self.refuse(error),
            Ok(head) => {
                self.input.drain(..head.size);
                // What is left is the beginning of the next request.
                self.request_since = (!self.input.is_empty()).then_some(now);
                self.is_closing = head.is_last;
                self.answer(&head, metrics);
            }
        }
        self.last_active = now;
        true
    }

    fn answer(&mut self, head: &Head, metrics: &mut dyn FnMut() -> String) {
        let is_head = head.method == Method::Head;
        let text;
        let response = match (head.method, head.route) {
            (Method::Other, _) => Response {
                extra: "Allow: GET, HEAD\r\n",
                ..Response::text("405 Method Not Allowed", "only GET and HEAD are allowed\n")
            },
            (_, Route::Metrics) => {
                self.stats.scrapes += 1;
                text = metrics();
                Response { content_type: METRICS_TYPE, ..Response::text("200 OK", &text) }
            }
            (_, Route::Health) => Response::text("200 OK", "ok\n"),
            (_, Route::Elsewhere) => Response::text("404 Not Found", "there are /metrics and /healthz\n"),
        };
        self.respond(&Response { is_head, ..response });
    }

    fn refuse(&mut self, error: HeadError) {
        self.is_closing = true;
        self.input = Vec::new();
        self.request_since = None;
        self.respond(&match error {
            HeadError::TooLong => {
                Response::text("431 Request Header Fields Too Large", "the request's head is too long\n")
            }
            HeadError::Version => {
                Response::text("505 HTTP Version Not Supported", "HTTP/1.0 and HTTP/1.1 are spoken here\n")
            }
            HeadError::Malformed | HeadError::Incomplete => {
                Response::text("400 Bad Request", "this is no HTTP request\n")
            }
        });
    }

    fn respond(&mut self, response: &Response<'_>) {
        if !response.status.starts_with('2') {
            self.stats.errors += 1;
        }
        let connection = if self.is_closing { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n{}\r\n",
            response.status,
            response.content_type,
            response.body.len(),
            response.extra,
        );
        self.output.extend_from_slice(head.as_bytes());
        // RFC 9110 section 9.3.2: a response to HEAD has the head of that to GET, and no content.
        if !response.is_head {
            self.output.extend_from_slice(response.body.as_bytes());
        }
    }

    /// Bytes to send.
    pub fn output(&self) -> &[u8] {
        &self.output[self.output_done..]
    }

    /// Says that `count` bytes of the output are sent.
    pub fn sent(&mut self, count: usize, now: Nanos) {
        self.last_active = now;
        self.output_done = (self.output_done + count).min(self.output.len());
        if self.output_done == self.output.len() {
            self.output = Vec::new();
            self.output_done = 0;
        }
    }

    /// Whether the connection ends once the output is sent.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether the peer has taken longer than it may.
    pub fn is_expired(&self, now: Nanos) -> bool {
        if self.is_closing || !self.output().is_empty() {
            return now.since(self.last_active) >= STALL_MAX;
        }
        self.request_since.is_some_and(|since| now.since(since) >= REQUEST_TIME_MAX)
            || now.since(self.last_active) >= SILENCE_MAX
    }

    /// Counts since the last call.
    pub fn take_stats(&mut self) -> HttpStats {
        std::mem::take(&mut self.stats)
    }
}

/// Reads the head of a request, up to the empty line.
fn read_head(input: &[u8]) -> Result<Head, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let size = match request.parse(input) {
        Ok(httparse::Status::Complete(size)) if size <= HEAD_SIZE_MAX => size,
        Ok(httparse::Status::Partial) if input.len() < HEAD_SIZE_MAX => return Err(HeadError::Incomplete),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::Malformed),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed);
    };
    let values = |name: &'static str| {
        request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    };
    // RFC 9112 section 3.2: HTTP/1.1 has exactly one Host.
    let host_count = values("host").count();
    if host_count > 1 || (version == 1 && host_count == 0) {
        return Err(HeadError::Malformed);
    }
    // RFC 9112 section 6.3: what announces a body, which is not read here.
    let has_body = values("transfer-encoding").next().is_some()
        || values("content-length").any(|value| value.trim_ascii() != b"0");
    let asks_for = |option: &[u8]| {
        values("connection")
            .any(|v| v.split(|&b| b == b',').any(|o| o.trim_ascii().eq_ignore_ascii_case(option)))
    };
    // RFC 9112 section 9.3: 1.1 stays open unless told otherwise, 1.0 closes.
    let is_last = has_body || version == 0 || asks_for(b"close");
    Ok(Head {
        size,
        method: match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        },
        route: route(target),
        is_last,
    })
}

/// RFC 9112 section 3.2: the path of an origin-form or absolute-form target.
fn route(target: &str) -> Route {
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let path = match scheme {
        Some(scheme) => {
            let rest = &target[scheme.len()..];
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        None => target,
    };
    match path.split(['?', '#']).next() {
        Some("/metrics") => Route::Metrics,
        Some("/healthz") => Route::Health,
        _ => Route::Elsewhere,
    }
}

/// Fuzz body: the first byte cuts the rest into reads. No bytes panic it, and every response is whole.
#[doc(hidden)]
pub fn fuzz_http(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else { return };
    let mut session = HttpSession::new(Nanos(0));
    for read in data.chunks(usize::from(step).max(1)) {
        session.receive(read, Nanos(0));
        while session.answer_next(Nanos(0), &mut || "x 1\n".to_owned()) {
            let output = session.output();
            assert!(output.starts_with(b"HTTP/1.1 "));
            assert!(output.windows(4).any(|window| window == b"\r\n\r\n"));
            session.sent(output.len(), Nanos(0));
        }
        assert!(session.input.len() <= HEAD_SIZE_MAX);
    }
}

#[cfg(test)]
mod tests;
