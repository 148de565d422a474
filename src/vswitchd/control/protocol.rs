//! JSON-RPC 2.0 over a byte stream, one document a line: bytes in, bytes out, no sockets.
//!
//! # Framing
//! A document ends with a newline (`\n`, or `\r\n`); JSON has no bare newline inside strings, so a document
//! can always be written on one line. Empty lines mean nothing. The end of the stream ends a document too, so
//! that `printf .. | socat` works. A document is a request object or a batch of them (JSON-RPC 2.0 section 6);
//! requests are carried out in the order they come, and answers keep that order.
//!
//! # Why so
//! Self-delimiting JSON would do without newlines, but after a fault nobody could tell where the next document
//! begins. With lines one bad request costs one answer and the connection lives on.
//!
//! # Bounds
//! [`REQUEST_SIZE_MAX`] bytes a line: a longer one is answered with an error, and the connection ends, since
//! where the next line begins is unknown. [`REQUEST_DEPTH_MAX`] brackets deep. [`BATCH_LEN_MAX`] requests in a
//! batch, carried out one for each call of [`Session::answer_next`], so that the caller can do something else in
//! between. What an answer may take is given by the caller; one that needs more becomes an error.
//!
//! # Threads
//! A session belongs to its connection, on the control thread.

use super::ControlHandler;
use crate::vswitchd::api::{Error, ErrorCode, Reply, Request};
use serde::Serialize;
use serde_json::Value;
use std::io;

/// Longest request line. The largest sensible request is a flow of a few kilobytes; a batch has [`BATCH_LEN_MAX`].
pub const REQUEST_SIZE_MAX: usize = 1 << 20;

/// How deep arrays and objects of a request may nest. Requests of this version need 3: batch, request, params.
pub const REQUEST_DEPTH_MAX: usize = 16;

/// Requests in one batch. Scripts that have more send several, one after the other.
pub const BATCH_LEN_MAX: usize = 64;

/// Memory that a connection without a request keeps for the next.
const INPUT_SIZE_KEPT: usize = 1 << 16;

/// What was done for one connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SessionStats {
    /// Requests carried out, those that failed too.
    pub requests: u64,
    /// Answers that were errors.
    pub errors: u64,
}

/// One connection's state: what came and is not answered, what is answered and not sent.
#[derive(Debug, Default)]
pub struct Session {
    input: Vec<u8>,
    /// Bytes at the front of `input` that are answered.
    input_done: usize,
    /// Bytes of `input` in which no newline is left to find.
    input_scanned: usize,
    /// The batch that is being carried out: it comes before what is left of `input`.
    batch: Option<Batch>,
    output: Vec<u8>,
    /// Bytes at the front of `output` that are sent.
    output_done: usize,
    is_closing: bool,
    stats: SessionStats,
}

/// A batch whose requests are not all carried out.
#[derive(Debug)]
struct Batch {
    /// At least one.
    requests: std::vec::IntoIter<Value>,
    /// Bytes that its answers may still take.
    room: usize,
    /// Whether a request of it was answered.
    has_answers: bool,
}

impl Session {
    /// A new connection's session.
    pub fn new() -> Session {
        Session::default()
    }

    /// Takes what the peer sent. Call [`Session::answer_next`] until it returns false before taking more, so
    /// that no more than a request and one read's worth is ever kept.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.is_closing {
            return;
        }
        self.input.drain(..self.input_done);
        self.input_scanned -= self.input_done;
        self.input_done = 0;
        if self.input.is_empty() {
            // A long request's memory is not kept for the short ones after it.
            self.input.shrink_to(INPUT_SIZE_KEPT);
        }
        self.input.extend_from_slice(bytes);
    }

    /// The peer sends no more: what it left unfinished is a document too.
    pub fn receive_end(&mut self) {
        if self.input.len() > self.input_done {
            self.receive(b"\n");
        }
    }

    /// Takes one step, if there is one to take, and says so: carries out the next complete line, or one request of
    /// it if it is a batch. Its answer, if any, is appended to the output and takes at most about `output_room`
    /// bytes; those of a batch take at most as much together.
    pub fn answer_next(&mut self, handler: &mut dyn ControlHandler, output_room: usize) -> bool {
        if self.is_closing {
            return false;
        }
        if self.batch.is_some() {
            self.answer_batch(handler, output_room);
            return true;
        }
        let newline = self.input[self.input_scanned..].iter().position(|&byte| byte == b'\n');
        let end = newline.map_or(self.input.len(), |offset| self.input_scanned + offset);
        if end - self.input_done > REQUEST_SIZE_MAX {
            self.refuse_long_line();
            return true;
        }
        let Some(_) = newline else {
            self.input_scanned = end;
            return false;
        };
        let line = self.input[self.input_done..end].trim_ascii();
        if !line.is_empty() {
            let mut answer = Answer { room: output_room, stats: &mut self.stats, handler };
            match answer.document(line) {
                Document::Silent => {}
                Document::Answer(text) => {
                    self.output.extend_from_slice(&text);
                    self.output.push(b'\n');
                }
                Document::Batch(requests) => {
                    let requests = requests.into_iter();
                    self.batch = Some(Batch { requests, room: output_room, has_answers: false });
                    self.answer_batch(handler, output_room);
                }
            }
        }
        self.input_done = end + 1;
        self.input_scanned = end + 1;
        true
    }

    /// Carries out the next request of the batch.
    fn answer_batch(&mut self, handler: &mut dyn ControlHandler, output_room: usize) {
        let Some(batch) = &mut self.batch else { return };
        if let Some(request) = batch.requests.next() {
            let room = batch.room.min(output_room);
            if let Some(text) = (Answer { room, stats: &mut self.stats, handler }).request(request) {
                self.output.push(if batch.has_answers { b',' } else { b'[' });
                self.output.extend_from_slice(&text);
                batch.has_answers = true;
                batch.room = batch.room.saturating_sub(text.len() + 1);
            }
        }
        if batch.requests.as_slice().is_empty() {
            // JSON-RPC 2.0 section 6: no answer at all to a batch of notifications.
            if batch.has_answers {
                self.output.extend_from_slice(b"]\n");
            }
            self.batch = None;
        }
    }

    fn refuse_long_line(&mut self) {
        let error = Error::new(
            ErrorCode::ParseError,
            format!("a request is longer than {REQUEST_SIZE_MAX} bytes: send smaller ones, one a line"),
        );
        self.stats.errors += 1;
        self.output.extend_from_slice(&error_response(&Value::Null, &error));
        self.output.push(b'\n');
        self.is_closing = true;
        self.input = Vec::new();
        self.input_done = 0;
        self.input_scanned = 0;
    }

    /// Bytes to send.
    pub fn output(&self) -> &[u8] {
        &self.output[self.output_done..]
    }

    /// Says that `count` bytes of the output are sent.
    pub fn sent(&mut self, count: usize) {
        self.output_done = (self.output_done + count).min(self.output.len());
        if self.output_done == self.output.len() {
            // A dump may have been large: its memory is not kept for a connection that now waits.
            self.output = Vec::new();
            self.output_done = 0;
        }
    }

    /// Whether the connection ends once the output is sent.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Counts since the last call.
    pub fn take_stats(&mut self) -> SessionStats {
        std::mem::take(&mut self.stats)
    }
}

/// An error answer to a request that never became one, as a line.
pub fn error_line(error: &Error) -> Vec<u8> {
    let mut line = error_response(&Value::Null, error);
    line.push(b'\n');
    line
}

/// What a line holds.
enum Document {
    /// A notification, which is carried out.
    Silent,
    /// A request that is carried out, or a fault; with its answer.
    Answer(Vec<u8>),
    /// A batch that is to be carried out.
    Batch(Vec<Value>),
}

/// What answers one request.
struct Answer<'a> {
    room: usize,
    stats: &'a mut SessionStats,
    handler: &'a mut dyn ControlHandler,
}

impl Answer<'_> {
    /// JSON-RPC 2.0 sections 4 to 6.
    fn document(&mut self, line: &[u8]) -> Document {
        if !is_depth_allowed(line) {
            let message = format!("a request nests deeper than {REQUEST_DEPTH_MAX} arrays and objects");
            return Document::Answer(self.error(&Value::Null, &Error::new(ErrorCode::ParseError, message)));
        }
        match serde_json::from_slice(line) {
            Err(error) => {
                let message = format!("a request is not JSON: {error}: send one document a line");
                Document::Answer(self.error(&Value::Null, &Error::new(ErrorCode::ParseError, message)))
            }
            Ok(Value::Array(requests)) if requests.is_empty() || requests.len() > BATCH_LEN_MAX => {
                let message =
                    format!("a batch has {} requests: 1 to {BATCH_LEN_MAX} are allowed", requests.len());
                let error = Error::new(ErrorCode::InvalidRequest, message);
                Document::Answer(self.error(&Value::Null, &error))
            }
            Ok(Value::Array(requests)) => Document::Batch(requests),
            Ok(request) => self.request(request).map_or(Document::Silent, Document::Answer),
        }
    }

    fn request(&mut self, request: Value) -> Option<Vec<u8>> {
        let (id, method, params) = match read_envelope(request) {
            Ok(envelope) => envelope,
            Err((id, error)) => return Some(self.error(&id, &error)),
        };
        self.stats.requests += 1;
        let outcome = Request::from_method(&method, params).and_then(|request| self.handler.call(request));
        // JSON-RPC 2.0 section 4.1: a notification is not answered, not even if it failed.
        let Some(id) = id else {
            self.stats.errors += u64::from(outcome.is_err());
            return None;
        };
        Some(match outcome {
            Ok(reply) => self.result(&id, &reply),
            Err(error) => self.error(&id, &error),
        })
    }

    fn result(&mut self, id: &Value, reply: &Reply) -> Vec<u8> {
        let mut writer = BoundedWriter { bytes: Vec::new(), size_max: self.room };
        match serde_json::to_writer(&mut writer, &Response { jsonrpc: "2.0", result: reply, id }) {
            Ok(()) => writer.bytes,
            Err(error) if error.is_io() => {
                let message = format!(
                    "the reply is larger than the {} bytes left for it: ask for less (a filter, a limit, one \
                     bridge), or again when other clients are done",
                    self.room
                );
                self.error(id, &Error::new(ErrorCode::ReplyTooLarge, message))
            }
            Err(error) => {
                let message = format!("the reply has no JSON form: {error}: please report this");
                self.error(id, &Error::new(ErrorCode::InternalError, message))
            }
        }
    }

    fn error(&mut self, id: &Value, error: &Error) -> Vec<u8> {
        self.stats.errors += 1;
        error_response(id, error)
    }
}

/// A request that is one by its shape: its id if it wants an answer, its method, its parameters.
type Envelope = (Option<Value>, String, Option<Value>);

/// JSON-RPC 2.0 section 4. In case of an error, says which id to answer to.
fn read_envelope(request: Value) -> Result<Envelope, (Value, Error)> {
    let fault = |id: &Value, message: &str| (id.clone(), Error::new(ErrorCode::InvalidRequest, message));
    let Value::Object(mut request) = request else {
        return Err(fault(&Value::Null, "a request is an object with \"jsonrpc\", \"method\" and \"id\""));
    };
    let id = request.remove("id");
    let answer_to = match &id {
        None | Some(Value::Null) => Value::Null,
        Some(id @ (Value::String(_) | Value::Number(_))) => id.clone(),
        Some(_) => return Err(fault(&Value::Null, "\"id\" is a string, a number or null")),
    };
    if request.remove("jsonrpc").as_ref().and_then(Value::as_str) != Some("2.0") {
        return Err(fault(&answer_to, "a request says \"jsonrpc\": \"2.0\""));
    }
    let Some(Value::String(method)) = request.remove("method") else {
        return Err(fault(&answer_to, "\"method\" is missing, or is not a string"));
    };
    let params = request.remove("params");
    if !matches!(params, None | Some(Value::Object(_) | Value::Array(_))) {
        return Err(fault(&answer_to, "\"params\" is an object or an array, or left out"));
    }
    if let Some(key) = request.keys().next() {
        let shown: String = key.chars().take(40).collect();
        return Err(fault(&answer_to, &format!("a request has no key {shown:?}")));
    }
    Ok((id, method, params))
}

/// Whether brackets outside strings nest no deeper than allowed. Text that is not JSON may pass: the parser
/// finds out.
fn is_depth_allowed(line: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut is_escaped = false;
    for &byte in line {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > REQUEST_DEPTH_MAX {
                    return false;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'static str,
    result: &'a Reply,
    id: &'a Value,
}

#[derive(Serialize)]
struct ErrorResponse<'a> {
    jsonrpc: &'static str,
    error: &'a Error,
    id: &'a Value,
}

fn error_response(id: &Value, error: &Error) -> Vec<u8> {
    serde_json::to_vec(&ErrorResponse { jsonrpc: "2.0", error, id })
        .expect("strings and numbers have a JSON form, and memory takes every byte")
}

/// Collects bytes up to a bound.
struct BoundedWriter {
    bytes: Vec<u8>,
    size_max: usize,
}

impl io::Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size_max - self.bytes.len() < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fuzz body: the first byte cuts the rest into reads; whatever they hold, the session answers every line at
/// most once, each answer is one line of JSON with an error or a result, and nothing is kept beyond bounds.
#[doc(hidden)]
pub fn fuzz_control(data: &[u8]) {
    struct Refuse;
    impl ControlHandler for Refuse {
        fn call(&mut self, request: Request) -> Result<Reply, Error> {
            // A request that was read can be written, and reads back as the same.
            let again = Request::from_method(request.method(), Some(request.params()));
            assert_eq!(again.as_ref(), Ok(&request));
            Err(Error::new(ErrorCode::Refused, format!("{request:?}")))
        }
    }
    let Some((&step, data)) = data.split_first() else { return };
    let mut session = Session::new();
    let mut output = Vec::new();
    for read in data.chunks(usize::from(step).max(1)) {
        session.receive(read);
        while session.answer_next(&mut Refuse, 1 << 16) {}
        assert!(session.input.len() - session.input_done <= REQUEST_SIZE_MAX + read.len());
        output.extend_from_slice(session.output());
        session.sent(session.output().len());
    }
    session.receive_end();
    while session.answer_next(&mut Refuse, 1 << 16) {}
    output.extend_from_slice(session.output());
    let documents = data.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
    let answers: Vec<_> = output.split_inclusive(|&byte| byte == b'\n').collect();
    assert!(answers.len() <= documents);
    for answer in answers {
        let answer: Value = serde_json::from_slice(answer).expect("an answer is one line of JSON");
        let parts = answer.as_array().cloned().unwrap_or_else(|| vec![answer]);
        for part in parts {
            assert_eq!(part["jsonrpc"], "2.0");
            assert!(part["error"]["code"].is_i64() && part["error"]["message"].is_string());
            assert!(part.get("id").is_some());
        }
    }
}

#[cfg(test)]
mod tests;
