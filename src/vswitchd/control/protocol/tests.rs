use super::*;
use crate::vswitchd::api::{self, StopReply, VersionReply};
use serde_json::json;

/// Answers `version` and `stop`, and remembers what it was asked.
#[derive(Default)]
struct Fake {
    asked: Vec<Request>,
}

impl ControlHandler for Fake {
    fn call(&mut self, request: Request) -> Result<Reply, Error> {
        self.asked.push(request.clone());
        match request {
            Request::Version => Ok(Reply::Version(VersionReply {
                name: "test".into(),
                version: "1.2.3".into(),
                dpdk_version: None,
                pid: 42,
            })),
            Request::Stop => Ok(Reply::Stop(StopReply { name: "n".repeat(1000), pid: 42 })),
            _ => Err(Error::new(ErrorCode::NotFound, "there is no such bridge")),
        }
    }
}

/// Sends `text` to a new session and returns its answers, one a line.
fn ask(fake: &mut Fake, text: &[u8]) -> Vec<Value> {
    let mut session = Session::new();
    session.receive(text);
    while session.answer_next(fake, OUTPUT_ROOM) {}
    lines(session.output())
}

const OUTPUT_ROOM: usize = 4096;

fn lines(bytes: &[u8]) -> Vec<Value> {
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
    bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("an answer is JSON"))
        .collect()
}

fn error_code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().expect("an error")
}

#[test]
fn a_request_is_answered_with_its_id() {
    let answers = ask(
        &mut Fake::default(),
        b"{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":7}\n\
          \r\n  \n\
          {\"id\":\"x\",\"params\":[],\"method\":\"version\",\"jsonrpc\":\"2.0\"}\r\n",
    );
    let result = json!({"name": "test", "version": "1.2.3", "dpdk_version": null, "pid": 42});
    assert_eq!(
        answers,
        [
            json!({"jsonrpc": "2.0", "result": result, "id": 7}),
            json!({"jsonrpc": "2.0", "result": result, "id": "x"})
        ]
    );
}

#[test]
fn parameters_come_by_name_or_by_position() {
    let mut fake = Fake::default();
    let requests = [
        json!({"jsonrpc": "2.0", "method": "add-flow", "params": {"flow": "actions=drop", "bridge": "br0"}, "id": 1}),
        json!({"jsonrpc": "2.0", "method": "add-flow", "params": ["br0", "actions=drop"], "id": 1}),
        json!({"jsonrpc": "2.0", "method": "del-flows", "params": ["br0"], "id": 1}),
        json!({"jsonrpc": "2.0", "method": "dump-ports", "id": 1}),
    ];
    for request in &requests {
        ask(&mut fake, format!("{request}\n").as_bytes());
    }
    let add = Request::AddFlow(api::AddFlowParams { bridge: "br0".into(), flow: "actions=drop".into() });
    let del = Request::DelFlows(api::DelFlowsParams { bridge: "br0".into(), flow: None, strict: false });
    let ports = Request::DumpPorts(api::DumpPortsParams { bridge: None });
    assert_eq!(fake.asked, [add.clone(), add, del, ports]);
}

#[test]
fn every_method_reads_back_what_it_writes() {
    let requests = [
        Request::Version,
        Request::Show,
        Request::DumpFlows(api::DumpFlowsParams { bridge: "b".into(), filter: Some("tcp".into()) }),
        Request::DumpMegaflows(api::DumpMegaflowsParams { worker: Some(1), limit: Some(10) }),
        Request::DumpPorts(api::DumpPortsParams { bridge: Some("b".into()) }),
        Request::Fdb(api::BridgeParams { bridge: "b".into() }),
        Request::Pmd,
        Request::Ipfix,
        Request::OpenFlow(api::OpenFlowParams { bridge: Some("b".into()) }),
        Request::AddFlow(api::AddFlowParams { bridge: "b".into(), flow: "f".into() }),
        Request::DelFlows(api::DelFlowsParams { bridge: "b".into(), flow: Some("f".into()), strict: true }),
        Request::AddGroup(api::GroupParams { bridge: "b".into(), group: "g".into() }),
        Request::ModGroup(api::ModGroupParams { bridge: "b".into(), group: "g".into(), may_create: true }),
        Request::DelGroups(api::DelGroupsParams { bridge: "b".into(), group: Some("g".into()) }),
        Request::InsertBuckets(api::GroupParams { bridge: "b".into(), group: "g".into() }),
        Request::RemoveBuckets(api::GroupParams { bridge: "b".into(), group: "g".into() }),
        Request::DumpGroups(api::DumpGroupsParams { bridge: "b".into(), group: Some(1) }),
        Request::GroupStats(api::DumpGroupsParams { bridge: "b".into(), group: None }),
        Request::AddMeter(api::MeterParams { bridge: "b".into(), meter: "m".into() }),
        Request::ModMeter(api::MeterParams { bridge: "b".into(), meter: "m".into() }),
        Request::DelMeter(api::DelMeterParams { bridge: "b".into(), meter: Some("m".into()) }),
        Request::DumpMeters(api::DumpMetersParams { bridge: "b".into(), meter: Some(1) }),
        Request::MeterStats(api::DumpMetersParams { bridge: "b".into(), meter: None }),
        Request::ModPort(api::ModPortParams { bridge: "b".into(), port: "p".into(), change: "up".into() }),
        Request::SetStp(api::SetStpParams { bridge: "b".into(), port: "p".into(), state: "s".into() }),
        Request::Diff(api::DiffParams { path: Some("/f".into()), text: None }),
        Request::Apply(api::ApplyParams { path: None, text: Some("t".into()), dry_run: true }),
        Request::Stop,
    ];
    assert_eq!(requests.each_ref().map(Request::method), Request::METHODS);
    for request in requests {
        let again = Request::from_method(request.method(), Some(request.params()));
        assert_eq!(again, Ok(request));
    }
}

#[test]
fn each_fault_has_its_code_and_the_session_goes_on() {
    let faults: &[(&str, i64, Value)] = &[
        ("nonsense", -32700, Value::Null),
        ("{\"jsonrpc\":\"2.0\",", -32700, Value::Null),
        ("\u{0}\u{1}", -32700, Value::Null),
        ("3", -32600, Value::Null),
        ("[]", -32600, Value::Null),
        ("{}", -32600, Value::Null),
        ("{\"method\":\"version\",\"id\":1}", -32600, json!(1)),
        ("{\"jsonrpc\":\"1.0\",\"method\":\"version\",\"id\":1}", -32600, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":3,\"id\":1}", -32600, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":{}}", -32600, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"params\":1,\"id\":1}", -32600, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1,\"extra\":0}", -32600, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"Version\",\"id\":1}", -32601, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"params\":[1],\"id\":1}", -32602, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"fdb\",\"id\":1}", -32602, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"fdb\",\"params\":{\"bridg\":\"x\"},\"id\":1}", -32602, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"fdb\",\"params\":[\"a\",\"b\"],\"id\":1}", -32602, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"fdb\",\"params\":[\"a\"],\"id\":1}", -32001, json!(1)),
    ];
    let mut session = Session::new();
    for (text, code, id) in faults {
        session.receive(format!("{text}\n").as_bytes());
        assert!(session.answer_next(&mut Fake::default(), OUTPUT_ROOM));
        let answers = lines(session.output());
        assert_eq!((answers.len(), error_code(&answers[0]), &answers[0]["id"]), (1, *code, id), "{text}");
        assert!(!answers[0]["error"]["message"].as_str().unwrap().is_empty());
        session.sent(session.output().len());
    }
    assert!(!session.is_closing());
    let stats = session.take_stats();
    assert_eq!((stats.requests, stats.errors), (6, faults.len() as u64));
}

#[test]
fn a_notification_is_carried_out_and_not_answered() {
    let mut fake = Fake::default();
    let text = b"{\"jsonrpc\":\"2.0\",\"method\":\"version\"}\n[{\"jsonrpc\":\"2.0\",\"method\":\"pmd\"}]\n";
    assert_eq!(ask(&mut fake, text), [] as [Value; 0]);
    assert_eq!(fake.asked, [Request::Version, Request::Pmd]);
}

#[test]
fn a_batch_is_answered_in_order_and_bounded() {
    let mut fake = Fake::default();
    let batch = json!([
        {"jsonrpc": "2.0", "method": "version", "id": 1},
        {"jsonrpc": "2.0", "method": "version"},
        7,
        {"jsonrpc": "2.0", "method": "none", "id": 2},
    ]);
    let answers = ask(&mut fake, format!("{batch}\n").as_bytes());
    assert_eq!(answers.len(), 1);
    let ids: Vec<_> = answers[0].as_array().unwrap().iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!(1), Value::Null, json!(2)]);
    assert_eq!(error_code(&answers[0][1]), -32600);
    let long = Value::Array(vec![json!(0); BATCH_LEN_MAX + 1]);
    assert_eq!(error_code(&ask(&mut fake, format!("{long}\n").as_bytes())[0]), -32600);
}

#[test]
fn a_step_is_one_request_in_a_batch_too() {
    let request = |id: usize| match id % 3 {
        0 => json!({"jsonrpc": "2.0", "method": "version"}),
        _ => json!({"jsonrpc": "2.0", "method": "version", "id": id}),
    };
    let batch = Value::Array((0..BATCH_LEN_MAX).map(request).collect());
    let (mut fake, mut session) = (Fake::default(), Session::new());
    session.receive(format!("{batch}\n{}\n", request(1000)).as_bytes());
    let mut output = Vec::new();
    for count in 1..=BATCH_LEN_MAX + 1 {
        assert!(session.answer_next(&mut fake, OUTPUT_ROOM * 10));
        assert_eq!(fake.asked.len(), count);
        // What is there can be sent before the batch is done.
        output.extend_from_slice(session.output());
        session.sent(session.output().len());
    }
    assert!(!session.answer_next(&mut fake, OUTPUT_ROOM));
    let answers = lines(&output);
    let ids: Vec<_> = answers[0].as_array().unwrap().iter().map(|answer| answer["id"].clone()).collect();
    let expected: Vec<_> = (0..BATCH_LEN_MAX).filter(|id| id % 3 != 0).map(|id| json!(id)).collect();
    assert_eq!((answers.len(), ids, &answers[1]["id"]), (2, expected, &json!(1000)));
}

#[test]
fn a_session_answers_the_same_however_its_bytes_are_cut() {
    let text: Vec<u8> = (0..20)
        .flat_map(|id| format!("{{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":{id}}}\r\n").into_bytes())
        .collect();
    let whole = ask(&mut Fake::default(), &text);
    assert_eq!(whole.len(), 20);
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut session = Session::new();
        let mut rest = &text[..];
        let mut output = Vec::new();
        while !rest.is_empty() {
            let (read, after) = rest.split_at(random.usize(1..=rest.len().min(100)));
            session.receive(read);
            while session.answer_next(&mut Fake::default(), OUTPUT_ROOM) {}
            let count = random.usize(0..=session.output().len());
            output.extend_from_slice(&session.output()[..count]);
            session.sent(count);
            rest = after;
        }
        output.extend_from_slice(session.output());
        assert_eq!(lines(&output), whole, "seed {seed}");
    }
}

#[test]
fn the_end_of_the_stream_ends_a_request() {
    let mut session = Session::new();
    session.receive(b"{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1}");
    assert!(!session.answer_next(&mut Fake::default(), OUTPUT_ROOM));
    session.receive_end();
    assert!(session.answer_next(&mut Fake::default(), OUTPUT_ROOM));
    assert_eq!(lines(session.output())[0]["id"], 1);
}

#[test]
fn the_longest_request_passes_and_a_longer_one_ends_the_session() {
    let padded = |size: usize| {
        let mut text = b"{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1}".to_vec();
        text.resize(size, b' ');
        text.push(b'\n');
        text
    };
    assert!(ask(&mut Fake::default(), &padded(REQUEST_SIZE_MAX))[0].get("result").is_some());

    let too_long = padded(REQUEST_SIZE_MAX + 1);
    for cut in [1, 1000, REQUEST_SIZE_MAX + 1, REQUEST_SIZE_MAX + 2] {
        let mut session = Session::new();
        for part in [&too_long[..cut], &too_long[cut..]] {
            session.receive(part);
            while session.answer_next(&mut Fake::default(), OUTPUT_ROOM) {}
        }
        let answers = lines(session.output());
        assert_eq!((answers.len(), error_code(&answers[0])), (1, -32700));
        assert!(session.is_closing());
        assert!(session.input.is_empty(), "what a closing session is sent is not kept");
    }
}

#[test]
fn depth_is_bounded_outside_strings_only() {
    let nested = |depth: usize, filler: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":\"{filler}\",\"params\":{}{}}}\n",
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    let code = |text: String| error_code(&ask(&mut Fake::default(), text.as_bytes())[0]);
    assert_eq!(code(nested(REQUEST_DEPTH_MAX - 1, "")), -32602);
    assert_eq!(code(nested(REQUEST_DEPTH_MAX, "")), -32700);
    assert_eq!(code(nested(2, &"[{\\\"".repeat(50))), -32602, "brackets in a string don't nest");
    assert_eq!(code(format!("{}\n", "[".repeat(500_000))), -32700);
}

#[test]
fn a_reply_that_has_no_room_becomes_an_error() {
    let mut session = Session::new();
    session.receive(b"{\"jsonrpc\":\"2.0\",\"method\":\"stop\",\"id\":1}\n");
    session.answer_next(&mut Fake::default(), 1000);
    let answer = &lines(session.output())[0];
    assert_eq!((error_code(answer), &answer["id"]), (-32004, &json!(1)));

    let mut session = Session::new();
    let batch =
        json!([{"jsonrpc": "2.0", "method": "stop", "id": 1}, {"jsonrpc": "2.0", "method": "stop", "id": 2}]);
    session.receive(format!("{batch}\n").as_bytes());
    while session.answer_next(&mut Fake::default(), 1500) {}
    let answer = &lines(session.output())[0];
    assert!(answer[0].get("result").is_some(), "the first has room");
    assert_eq!(error_code(&answer[1]), -32004, "the second has what the first left");
}

/// Prints the seed of the run that panics.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[test]
fn random_edits_of_requests_never_panic() {
    let base = json!([{"jsonrpc": "2.0", "method": "dump-flows", "params": {"bridge": "br0", "filter": "tcp"}, "id": 1}]);
    let base = format!("{base}\n{base}\n").into_bytes();
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = vec![random.u8(..)];
        bytes.extend_from_slice(&base);
        let _told = TellSeed(seed);
        for _ in 0..random.usize(1..6) {
            let at = random.usize(1..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, *random.choice(b"{}[]\",:\n\\").unwrap()),
                2 if bytes.len() > 2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        fuzz_control(&bytes);
    }
}
