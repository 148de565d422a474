use super::*;

const START: Nanos = Nanos::from_secs(1);

fn scrape() -> String {
    "penstock_x 1\n".to_owned()
}

/// Sends `text` to a new session and returns what it answers, and whether it closes.
fn ask(text: &str) -> (String, bool) {
    let mut session = HttpSession::new(START);
    session.receive(text.as_bytes(), START);
    let mut output = Vec::new();
    while session.answer_next(START, &mut scrape) {
        output.extend_from_slice(session.output());
        session.sent(session.output().len(), START);
    }
    (String::from_utf8(output).expect("text"), session.is_closing())
}

fn status(text: &str) -> (u16, bool) {
    let (answer, is_closing) = ask(text);
    let status = answer.split(' ').nth(1).unwrap_or("0").parse().expect("a status");
    assert_eq!(answer.contains("Connection: close\r\n"), is_closing, "{answer}");
    (status, is_closing)
}

#[test]
fn a_scrape_is_answered_in_full() {
    let (answer, is_closing) = ask("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n");
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: 13\r\n\
                    Connection: keep-alive\r\n\r\npenstock_x 1\n";
    assert_eq!((answer.as_str(), is_closing), (expected, false));
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let (answer, _) = ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("Content-Length: 13\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn each_request_gets_its_status() {
    let cases = [
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", (200, false)),
        ("GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n", (200, false)),
        ("GET http://x:1/metrics HTTP/1.1\r\nHost: x\r\n\r\n", (200, false)),
        ("GET /metrics HTTP/1.0\r\n\r\n", (200, true)),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: te, Close\r\n\r\n", (200, true)),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", (404, false)),
        ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", (404, false)),
        ("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", (404, false)),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (405, false)),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd", (405, true)),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (200, true)),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", (200, false)),
        ("GET /metrics HTTP/1.1\r\n\r\n", (400, true)),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", (400, true)),
        ("garbage\r\n\r\n", (400, true)),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}", (400, true)),
        ("GET /metrics HTTP/2.0\r\n\r\n", (505, true)),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n", (0, false)),
        ("", (0, false)),
    ];
    for (text, expected) in cases {
        if expected.0 == 0 {
            assert_eq!(ask(text), (String::new(), false), "{text:?}");
        } else {
            assert_eq!(status(text), expected, "{text:?}");
        }
    }
}

#[test]
fn a_405_says_what_is_allowed() {
    let (answer, _) = ask("DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
}

#[test]
fn heads_are_bounded_in_bytes_and_fields() {
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(HEAD_SIZE_MAX));
    assert_eq!(status(&long), (431, true), "unfinished");
    assert_eq!(status(&format!("{long}\r\n\r\n")), (431, true), "finished");
    let fields = |count| format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert_eq!(status(&fields(HEADER_COUNT_MAX - 1)), (200, false));
    assert_eq!(status(&fields(HEADER_COUNT_MAX)), (431, true));
}

#[test]
fn pipelined_requests_are_answered_one_at_a_time_and_in_order() {
    let mut session = HttpSession::new(START);
    let text = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n";
    session.receive(text.as_bytes(), START);
    assert!(session.answer_next(START, &mut scrape));
    assert!(!session.answer_next(START, &mut scrape), "the first response is not sent yet");
    assert!(session.output().ends_with(b"\r\n\r\nok\n"));
    session.sent(session.output().len(), START);
    assert!(session.answer_next(START, &mut scrape));
    assert!(session.output().starts_with(b"HTTP/1.1 404 "));
    let stats = session.take_stats();
    assert_eq!((stats.scrapes, stats.errors), (0, 1));
}

#[test]
fn what_follows_a_body_is_never_taken_for_a_request() {
    let text =
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let (answer, is_closing) = ask(text);
    assert!(is_closing && answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
}

#[test]
fn a_request_byte_by_byte_is_the_same_request() {
    let text = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut session = HttpSession::new(START);
    for (index, byte) in text.bytes().enumerate() {
        session.receive(&[byte], START);
        assert_eq!(session.answer_next(START, &mut scrape), index + 1 == text.len());
    }
    assert_eq!(String::from_utf8_lossy(session.output()), ask(text).0);
}

#[test]
fn slow_clients_expire_and_others_don_t() {
    let before = |span: Nanos| START.plus(span).since(Nanos(1));
    let mut session = HttpSession::new(START);
    assert!(!session.is_expired(before(SILENCE_MAX)) && session.is_expired(START.plus(SILENCE_MAX)));

    session.receive(b"GET /met", START);
    // One byte a second does not buy more time.
    for second in 1..10 {
        session.receive(b"r", START.plus(Nanos::from_secs(second)));
        assert!(!session.is_expired(START.plus(Nanos::from_secs(second))));
    }
    assert!(
        !session.is_expired(before(REQUEST_TIME_MAX)) && session.is_expired(START.plus(REQUEST_TIME_MAX))
    );

    let mut session = HttpSession::new(START);
    session.receive(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", START);
    session.answer_next(START, &mut scrape);
    assert!(!session.is_expired(before(STALL_MAX)) && session.is_expired(START.plus(STALL_MAX)));
    session.sent(1, before(STALL_MAX));
    assert!(!session.is_expired(START.plus(STALL_MAX)), "it moves");
    session.sent(session.output().len(), START.plus(STALL_MAX));
    assert!(!session.is_expired(START.plus(REQUEST_TIME_MAX)), "the request is over");
}

#[test]
fn random_edits_of_requests_never_panic() {
    let base =
        b"GET /metrics HTTP/1.1\r\nHost: localhost:9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .repeat(2);
    for seed in 0..5000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = vec![random.u8(..)];
        bytes.extend_from_slice(&base);
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, *random.choice(b"\r\n: ,/?\0").expect("not empty")),
                _ => bytes.truncate(at + 1),
            }
        }
        if std::panic::catch_unwind(|| fuzz_http(&bytes)).is_err() {
            panic!("seed {seed}");
        }
    }
}
