use super::*;
use crate::dpif::model::{ModelConfig, ModelDpif};
use crate::netdev::dummy::DummyProvider;
use crate::sync::ManualClock;
use crate::vswitchd::api::{AddFlowParams, DumpPortsParams, Reply, Request};
use crate::vswitchd::apply::NoSurroundings;
use crate::vswitchd::switch::{Parts, ProcessInfo};
use std::sync::Arc;

/// Two bridges with a patch between them, a group, a meter and a mirror.
const TEXT: &str = "\
bridges:
  - name: br0
    internal_port: false
    fragments: drop
    controller_rate_limit: {pps: 100}
    meters: ['meter=1,pktps,burst,bands=type=drop,rate=10,burst_size=5']
    groups: ['group_id=2,type=all,bucket=group:1', 'group_id=1,type=select,bucket=output:a,bucket=weight:3,output:b']
    rules: ['priority=5,tcp,actions=meter:1,group:2', 'priority=0,actions=NORMAL']
    ports:
      - {name: a, type: dummy, disable: [flood], protected: true}
      - {name: b, type: dummy, stp: blocking, priority_tags: always}
      - {name: p0, type: patch, peer: p1}
      - {name: span, type: dummy}
    mirrors: [{name: m, select_src_port: [a], output_port: span, snaplen: 100}]
  - name: br1
    internal_port: false
    ports: [{name: p1, type: patch, peer: p0, admin: down}]
";

fn switch() -> Switch {
    let config = crate::config::parse("t.yaml", TEXT).unwrap_or_else(|faults| panic!("{faults}"));
    let parts = Parts {
        dpif: Box::new(ModelDpif::new(ModelConfig::default())),
        devices: Box::new(DummyProvider::new()),
        clock: Arc::new(ManualClock::default()),
        process: ProcessInfo::default(),
        is_parallel: false,
    };
    Switch::new(&config, parts).unwrap_or_else(|error| panic!("{error}"))
}

/// What a request sent over the socket and back comes to.
fn ask(switch: &mut Switch, request: Request) -> Result<Reply, Error> {
    let (method, params) = (request.method(), request.params());
    let request = Request::from_method(method, Some(params)).expect("it reads what it writes");
    let reply = switch.answer(request.clone(), &mut NoSurroundings)?;
    let result = serde_json::to_value(&reply).expect("replies have a JSON form");
    let read = Reply::from_result(&request, result).expect("it reads what it writes");
    assert_eq!(read, reply);
    Ok(reply)
}

fn group(text: &str) -> GroupParams {
    GroupParams { bridge: "br0".into(), group: text.into() }
}

#[test]
fn the_configuration_becomes_groups_meters_mirrors_and_settings() {
    let mut switch = switch();
    let Ok(Reply::Show(show)) = ask(&mut switch, Request::Show) else { panic!("show") };
    let [br0, br1] = &show.bridges[..] else { panic!("two bridges") };
    assert_eq!((br0.group_count, br0.meter_count, br0.rule_count), (2, 1, 2));
    assert_eq!((br0.fragments.as_str(), br0.controller_rate_pps), ("drop", Some(100)));
    assert_eq!(br0.mirrors[0].text, "m: from a -> span, 100 bytes");
    let [a, b, p0, _span] = &br0.ports[..] else { panic!("four ports") };
    assert_eq!((a.flags.clone(), a.protected), (vec!["no-flood".to_owned()], true));
    assert_eq!((b.stp.as_str(), b.priority_tags.as_str()), ("blocking", "always"));
    assert_eq!((p0.kind.as_str(), p0.peer.as_deref(), p0.dp_port), ("patch", Some("p1"), None));
    assert_eq!(br1.ports[0].flags, ["down"]);
    let text = crate::vswitchd::ctl::render::reply(&Reply::Show(show.clone()));
    for part in [
        "2 groups",
        "1 meter",
        "fragments drop",
        "p0: peer p1",
        "mirror m: from a -> span",
        "b: stp blocking",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    let ports = ask(&mut switch, Request::DumpPorts(DumpPortsParams { bridge: None }));
    let Ok(Reply::DumpPorts(ports)) = ports else { panic!("dump-ports") };
    assert!(ports.ports.iter().any(|port| port.name == "p0" && port.rx_packets == 0));
}

#[test]
fn groups_come_change_and_go_with_the_rules_that_name_them() {
    let mut switch = switch();
    let added = ask(&mut switch, Request::AddGroup(group("group_id=7,type=ff,bucket=watch_port:a,output:a")));
    let Ok(Reply::GroupMod(added)) = added else { panic!("{added:?}") };
    assert_eq!((added.group_count, added.rules_deleted), (3, 0));
    let again = ask(&mut switch, Request::AddGroup(group("group_id=7,type=all")));
    assert_eq!(again.map_err(|error| error.code), Err(ErrorCode::Refused));
    let params =
        ModGroupParams { bridge: "br0".into(), group: "group_id=8,type=all".into(), may_create: false };
    let unknown = ask(&mut switch, Request::ModGroup(params.clone()));
    assert_eq!(unknown.map_err(|error| error.code), Err(ErrorCode::Refused));
    assert!(ask(&mut switch, Request::ModGroup(ModGroupParams { may_create: true, ..params })).is_ok());
    let buckets = group("group_id=7,type=ff,command_bucket_id=last,bucket=bucket_id:5,watch_port:b,output:b");
    assert!(ask(&mut switch, Request::InsertBuckets(buckets)).is_ok());
    let params = DumpGroupsParams { bridge: "br0".into(), group: Some(7) };
    let Ok(Reply::DumpGroups(dumped)) = ask(&mut switch, Request::DumpGroups(params.clone())) else {
        panic!("dump-groups")
    };
    assert_eq!(
        dumped.groups[0].text,
        "group_id=7,type=ff,bucket=bucket_id:0,watch_port:a,actions=output:a,bucket=bucket_id:5,watch_port:b,\
         actions=output:b"
    );
    let Ok(Reply::GroupStats(stats)) = ask(&mut switch, Request::GroupStats(params.clone())) else {
        panic!("dump-group-stats")
    };
    assert_eq!((stats.groups.len(), stats.groups[0].buckets.len()), (1, 2));
    assert!(ask(&mut switch, Request::RemoveBuckets(group("group_id=7,command_bucket_id=first"))).is_ok());
    let nothing = DumpGroupsParams { group: Some(99), ..params };
    let missing = ask(&mut switch, Request::DumpGroups(nothing));
    assert_eq!(missing.map_err(|error| error.code), Err(ErrorCode::NotFound));
    let all = DelGroupsParams { bridge: "br0".into(), group: None };
    let Ok(Reply::GroupMod(gone)) = ask(&mut switch, Request::DelGroups(all)) else { panic!("del-groups") };
    assert_eq!((gone.group_count, gone.rules_deleted), (0, 1));
    let faulty = ask(&mut switch, Request::AddGroup(group("group_id=1")));
    assert_eq!(faulty.map_err(|error| error.code), Err(ErrorCode::BadFlow));
}

#[test]
fn meters_come_change_and_go_with_the_rules_that_name_them() {
    let mut switch = switch();
    let meter = |text: &str| MeterParams { bridge: "br0".into(), meter: text.into() };
    assert!(ask(&mut switch, Request::AddMeter(meter("meter=5,kbps,bands=type=drop,rate=1000"))).is_ok());
    let flow = AddFlowParams { bridge: "br0".into(), flow: "priority=9,udp,actions=meter:5,NORMAL".into() };
    assert!(ask(&mut switch, Request::AddFlow(flow)).is_ok());
    assert!(ask(&mut switch, Request::ModMeter(meter("meter=5,kbps,bands=type=drop,rate=2000"))).is_ok());
    let params = DumpMetersParams { bridge: "br0".into(), meter: Some(5) };
    let Ok(Reply::DumpMeters(dumped)) = ask(&mut switch, Request::DumpMeters(params.clone())) else {
        panic!("dump-meters")
    };
    assert_eq!(dumped.meters[0].text, "meter=5,kbps,bands=type=drop,rate=2000");
    let Ok(Reply::MeterStats(stats)) = ask(&mut switch, Request::MeterStats(params)) else {
        panic!("meter-stats")
    };
    assert_eq!((stats.meters[0].rule_count, stats.meters[0].bands.len()), (1, 1));
    let one = DelMeterParams { bridge: "br0".into(), meter: Some("meter=5".into()) };
    let Ok(Reply::MeterMod(gone)) = ask(&mut switch, Request::DelMeter(one)) else { panic!("del-meter") };
    assert_eq!((gone.meter_count, gone.rules_deleted), (1, 1));
}

#[test]
fn a_port_is_told_what_not_to_do_and_to_do_it_again() {
    let mut switch = switch();
    let mut change = |port: &str, change: &str| {
        let params = ModPortParams { bridge: "br0".into(), port: port.into(), change: change.into() };
        match ask(&mut switch, Request::ModPort(params)) {
            Ok(Reply::PortMod(reply)) => Ok(reply.flags.join(" ")),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code),
        }
    };
    assert_eq!(change("a", "down").as_deref(), Ok("down no-flood"));
    assert_eq!(change("a", "no-packet-in").as_deref(), Ok("down no-flood no-packet-in"));
    assert_eq!(change("1", "up").as_deref(), Ok("no-flood no-packet-in"));
    assert_eq!(change("a", "flood").as_deref(), Ok("no-packet-in"));
    assert_eq!(change("a", "packet-in").as_deref(), Ok(""));
    assert_eq!(change("p0", "no-receive").as_deref(), Ok("no-receive"));
    assert_eq!(change("nosuch", "down"), Err(ErrorCode::NotFound));
    assert_eq!(change("a", "no-up"), Err(ErrorCode::InvalidParams));
    let params = SetStpParams { bridge: "br0".into(), port: "b".into(), state: "forwarding".into() };
    let Ok(Reply::PortMod(set)) = ask(&mut switch, Request::SetStp(params)) else { panic!("set-stp") };
    assert_eq!(set.stp, "forwarding");
}

#[test]
fn a_scrape_shows_groups_meters_mirrors_and_patches() {
    let mut switch = switch();
    let snapshot = switch.metrics(Default::default(), Default::default());
    let text = crate::metrics::exposition(&snapshot);
    for line in [
        "penstock_bridge_groups{bridge=\"br0\"} 2",
        "penstock_group_packets_total{bridge=\"br0\",group=\"1\"} 0",
        "penstock_meter_band_packets_total{band=\"0\",bridge=\"br0\",meter=\"1\"} 0",
        "penstock_mirror_packets_total{bridge=\"br0\",mirror=\"m\"} 0",
        "penstock_port_info{bridge=\"br0\",port=\"p0\",type=\"patch\"} 1",
    ] {
        let mut parts: Vec<&str> = line.split(['{', '}', ',']).collect();
        let value = parts.pop().unwrap_or_default();
        let is_meant = |found: &&str| parts.iter().all(|part| found.contains(part)) && found.ends_with(value);
        assert!(text.lines().any(|found| is_meant(&found)), "{line} in:\n{text}");
    }
}
