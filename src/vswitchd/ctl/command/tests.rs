use super::*;
use crate::vswitchd::api::{Error, ErrorCode, Reply, VersionReply};
use crate::vswitchd::control::ControlHandler;
use crate::vswitchd::control::protocol::Session;
use clap::CommandFactory;
use std::io::Read;
use std::os::unix::net::UnixListener;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(std::iter::once("penstockctl").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_method_has_a_command_of_the_same_name() {
    let lines = [
        "version",
        "show",
        "dump-flows br0 tcp",
        "dump-megaflows --worker 1 --limit 5",
        "dump-ports br0",
        "fdb br0",
        "pmd",
        "ipfix",
        "openflow br0",
        "add-flow br0 actions=drop",
        "del-flows br0",
        "add-group br0 group_id=1,type=all",
        "mod-group --may-create br0 group_id=1,type=all",
        "del-groups br0",
        "insert-buckets br0 group_id=1,command_bucket_id=last,bucket=bucket_id:1,2",
        "remove-buckets br0 group_id=1,command_bucket_id=last",
        "dump-groups br0 1",
        "dump-group-stats br0",
        "add-meter br0 meter=1,kbps,bands=type=drop,rate=5",
        "mod-meter br0 meter=1,kbps,bands=type=drop,rate=5",
        "del-meter br0 meter=1",
        "dump-meters br0",
        "meter-stats br0 1",
        "mod-port br0 p no-flood",
        "set-stp br0 p blocking",
        "diff /etc/penstock.yaml",
        "apply --dry-run /etc/penstock.yaml",
        "stop",
    ];
    for (line, method) in lines.into_iter().zip(Request::METHODS) {
        let arguments = parse(&format!("--name x {line} --json")).expect(line);
        assert!(arguments.json && arguments.name.as_deref() == Some("x"));
        assert_eq!(arguments.command.request().method(), method);
    }
}

#[test]
fn a_rule_of_one_priority_is_deleted_with_strict() {
    let params = |line: &str| match parse(line).expect(line).command.request() {
        Request::DelFlows(params) => params,
        other => panic!("{other:?}"),
    };
    let strict = params("del-flows --strict br0 priority=5,tcp");
    assert_eq!((strict.strict, strict.flow.as_deref()), (true, Some("priority=5,tcp")));
    assert!(!params("del-flows br0 tcp").strict);
}

#[test]
fn a_configuration_is_named_by_a_path_that_the_switch_can_read_or_comes_by_standard_input() {
    let request = |line: &str| parse(line).expect(line).command.request();
    let here = std::env::current_dir().expect("there is one");
    let path = |file: &str| Some(here.join(file).display().to_string());
    let expected = ApplyParams { path: path("a.yaml"), text: None, dry_run: false };
    assert_eq!(request("apply a.yaml"), Request::Apply(expected));
    assert_eq!(request("apply"), Request::Apply(ApplyParams::default()));
    assert_eq!(request("diff"), Request::Diff(DiffParams::default()));
    let mut by_input = request("diff -");
    read_input(&mut by_input, &mut &b"bridges: []"[..]).expect("it can be read");
    let expected = DiffParams { path: path("(standard input)"), text: Some("bridges: []".into()) };
    assert_eq!(by_input, Request::Diff(expected));
    let mut by_file = request("diff a.yaml");
    read_input(&mut by_file, &mut &b"not read"[..]).expect("it is not read");
    assert_eq!(by_file, request("diff a.yaml"));
}

#[test]
fn diff_says_by_its_exit_code_whether_there_is_a_difference() {
    // Nobody is there: that is no difference, and no 3 either.
    let arguments = parse("--socket /nonexistent/socket diff /etc/penstock.yaml").expect("it is a line");
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    assert_eq!(run(arguments, &mut output, &mut errors), 2);
    assert!(output.is_empty() && !errors.is_empty());
}

#[test]
fn wrong_command_lines_are_refused() {
    for line in [
        "",
        "shw",
        "fdb",
        "show --timeout 0",
        "show --timeout -1",
        "show --timeout nan",
        "add-flow br0",
        "del-flows --strict br0",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

struct Fake;

impl ControlHandler for Fake {
    fn call(&mut self, request: Request) -> Result<Reply, Error> {
        match request {
            Request::Version => Ok(Reply::Version(VersionReply {
                name: "x".into(),
                version: "9".into(),
                dpdk_version: None,
                pid: 1,
            })),
            _ => Err(Error::new(ErrorCode::NotFound, "there is no bridge br9\u{1b}: bridges are br0")),
        }
    }
}

/// Runs a command line against one connection's worth of `server`.
fn run_against(line: &str, server: impl FnOnce(UnixListener) + Send) -> (u8, String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("x.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let mut arguments = parse(line).expect("a command line");
    arguments.socket = Some(path);
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let code = std::thread::scope(|scope| {
        scope.spawn(|| server(listener));
        run(arguments, &mut output, &mut errors)
    });
    (code, String::from_utf8(output).expect("UTF-8"), String::from_utf8(errors).expect("UTF-8"))
}

fn serve(listener: UnixListener) {
    let (mut stream, _) = listener.accept().expect("a client");
    let mut session = Session::new();
    let mut buffer = [0; 4096];
    while !session.answer_next(&mut Fake, 1 << 20) {
        let count = stream.read(&mut buffer).expect("a request");
        session.receive(&buffer[..count]);
    }
    stream.write_all(session.output()).expect("answered");
}

#[test]
fn an_answer_is_shown_or_printed_as_it_came() {
    let (code, output, errors) = run_against("version", serve);
    assert_eq!((code, output.as_str(), errors.as_str()), (0, "x: penstock 9, without DPDK, pid 1\n", ""));
    let (code, output, _) = run_against("version --json", serve);
    let expected = "{\"dpdk_version\":null,\"name\":\"x\",\"pid\":1,\"version\":\"9\"}\n";
    assert_eq!((code, output.as_str()), (0, expected));
}

#[test]
fn a_refusal_is_told_and_exits_with_1() {
    let (code, output, errors) = run_against("fdb br9", serve);
    let expected = "penstockctl: there is no bridge br9?: bridges are br0\n";
    assert_eq!((code, output.as_str(), errors.as_str()), (1, "", expected));
}

#[test]
fn nobody_there_exits_with_3_and_says_what_to_do() {
    let (code, _, errors) = run_against("show", drop);
    // The listener may be gone before or after we connect.
    assert!(code == 3 || code == 6, "{code} {errors}");
    let mut errors = Vec::new();
    let arguments = parse("show --socket /nonexistent/lab.sock").expect("a command line");
    assert_eq!(run(arguments, &mut Vec::new(), &mut errors), 3);
    let errors = String::from_utf8(errors).expect("UTF-8");
    assert!(
        errors.contains("no switch named lab is running") && errors.contains("start penstockd"),
        "{errors}"
    );
}

#[test]
fn no_answer_exits_with_5() {
    let (code, _, errors) = run_against("show --timeout 0.05", |listener| {
        // Holds the connection until the client has given up.
        let (mut stream, _) = listener.accept().expect("a client");
        stream.read_to_end(&mut Vec::new()).expect("a request and the end");
    });
    assert_eq!(code, 5, "{errors}");
    assert!(errors.contains("did not answer"), "{errors}");
}

#[test]
fn nonsense_from_the_other_side_exits_with_6() {
    for nonsense in [&b"hello\n"[..], b"{\"jsonrpc\":\"2.0\",\"result\":{\"x\":1},\"id\":1}\n", b"", b"{}\n"]
    {
        let (code, output, _) = run_against("version", |listener| {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(nonsense).expect("written");
            let mut rest = Vec::new();
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut rest);
        });
        assert_eq!((code, output.as_str()), (6, ""), "{nonsense:?}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("x.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let mut arguments = parse("version").expect("a command line");
    arguments.socket = Some(path);
    let code = std::thread::scope(|scope| {
        scope.spawn(|| serve(listener));
        run(arguments, &mut Gone, &mut Vec::new())
    });
    assert_eq!(code, 0);
}

#[test]
fn a_switch_that_is_named_goes_before_the_one_that_the_environment_says() {
    let socket = |words: &[&str], usual: Option<&str>| {
        let words = ["penstockctl"].iter().chain(words).chain(&["show"]).copied();
        let mut arguments = Arguments::try_parse_from(words).expect("it is right");
        arguments.usual_socket = usual.map(PathBuf::from);
        socket_of(&arguments)
    };
    let usual = Some("/usual.sock");
    assert_eq!(socket(&[], None), control::socket_path("penstock"));
    assert_eq!(socket(&[], usual), PathBuf::from("/usual.sock"));
    assert_eq!(socket(&["--name", "x"], usual), control::socket_path("x"));
    assert_eq!(socket(&["--socket", "/a.sock"], usual), PathBuf::from("/a.sock"));
    assert_eq!(socket(&["--name", "x", "--socket", "/a.sock"], usual), PathBuf::from("/a.sock"));
}
