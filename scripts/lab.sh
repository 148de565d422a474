# The lab: a Penstock switch with three hosts on it, all on this machine. Sourced by scripts/run; bash.
#
#        red1              red2              blue            hosts: a network namespace each, with an eth0
#    198.18.10.1/24    198.18.10.2/24    198.18.20.1/24      (and 198.18.10.3/24, which nobody may reach)
#         |                 |                 |
#      tap, VLAN 10      tap, VLAN 10      tap, VLAN 20
#   +------------------------------------------------+
#   | bridge lab: NORMAL, and rules that route        |---- IPFIX ----> nfcapd
#   | between the VLANs as 198.18.x.254               |---- /metrics
#   +------------------------------------------------+
#
# Names of interfaces, namespaces and files carry the process id of the script, so that labs run side by side, and
# lab_stop takes away what lab_start made. Addresses are of 198.18.0.0/15, which is kept for tests (RFC 2544).
# shellcheck shell=bash

LAB_HOSTS=(red1 red2 blue)
declare -A LAB_ADDRESS=([red1]=198.18.10.1 [red2]=198.18.10.2 [blue]=198.18.20.1)
declare -A LAB_GATEWAY=([red1]=198.18.10.254 [red2]=198.18.10.254 [blue]=198.18.20.254)
declare -A LAB_MAC=([red1]=02:00:00:00:10:01 [red2]=02:00:00:00:10:02 [blue]=02:00:00:00:20:01)
declare -A LAB_VLAN=([red1]=10 [red2]=10 [blue]=20)
# blue's other address, in red's network and yet not in its VLAN.
LAB_UNREACHABLE=198.18.10.3
LAB_ROUTER_MAC=02:00:00:00:00:fe

LAB_ID=ps$$
LAB_DIR=
LAB_SWITCH_PID=
LAB_COLLECTOR_PID=
LAB_COLLECTOR_PORT=
LAB_METRICS=
LAB_TEMPLATE_INTERVAL=3600

# lab_wait WHAT SECONDS COMMAND...: runs the command until it succeeds.
lab_wait() {
    local what=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "waited in vain for $what" >&2
            return 1
        fi
        sleep 0.1
    done
}

# lab_in HOST COMMAND...: runs a command on a host.
lab_in() {
    local host=$1
    shift
    ip netns exec "$LAB_ID-$host" "$@" </dev/null
}

# penstockctl, talking to the lab's switch.
lab_ctl() {
    "$LAB_BINARIES/penstockctl" --socket "$LAB_DIR/run/$LAB_ID.sock" "$@"
}

lab_is_over() { ! kill -0 "$1"; }

lab_has_udp_port() { ss -Hlun | grep -q "127.0.0.1:$1 "; }

lab_write_config() {
    local host
    cat <<END
# The lab of scripts/run.
switch: {name: $LAB_ID, run_dir: $LAB_DIR/run}
dpdk: {hugepages: $1}
metrics: {listen: "127.0.0.1:0"}
bridges:
  - name: lab
    # The host itself stays outside.
    internal_port: false
    rules:
      # Between the VLANs, rules are the router.
END
    for host in "${LAB_HOSTS[@]}"; do
        echo "      - priority=200,ip,dl_dst=$LAB_ROUTER_MAC,nw_dst=${LAB_ADDRESS[$host]},\
actions=dec_ttl,mod_dl_src:$LAB_ROUTER_MAC,mod_dl_dst:${LAB_MAC[$host]},output:$host"
    done
    cat <<END
      # The discard service is discarded here already.
      - priority=100,udp,tp_dst=9,actions=drop
      - priority=0,actions=NORMAL
    ports:
END
    for host in "${LAB_HOSTS[@]}"; do
        echo "      - {name: $host, type: tap, interface: $LAB_ID$host, mac: '${LAB_MAC[$host]}'," \
            "vlan: {access: ${LAB_VLAN[$host]}}}"
    done
    cat <<END
    ipfix:
      collector: udp:127.0.0.1:$LAB_COLLECTOR_PORT
      # Short, so that a lab need not wait for its records.
      active_timeout_ms: 1000
      idle_timeout_ms: 500
      # nfcapd 1.7.1 takes the options records that go with the templates for messages it missed.
      template_interval_s: $LAB_TEMPLATE_INTERVAL
END
}

# Plugs a host into its tap.
lab_plug() {
    local host=$1 namespace=$LAB_ID-$1
    ip netns add "$namespace"
    # Its own neighbour discovery is not what the lab is about.
    lab_in "$host" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    ip link set dev "$LAB_ID$host" netns "$namespace"
    ip -n "$namespace" link set dev "$LAB_ID$host" name eth0
    ip -n "$namespace" link set dev lo up
    ip -n "$namespace" address add "${LAB_ADDRESS[$host]}/24" dev eth0
    lab_links_up "$host"
}

# Also after lab_links_down.
lab_links_up() {
    local host
    for host in "$@"; do
        ip -n "$LAB_ID-$host" link set dev eth0 up
        ip -n "$LAB_ID-$host" neigh replace "${LAB_GATEWAY[$host]}" lladdr "$LAB_ROUTER_MAC" dev eth0 nud permanent
        ip -n "$LAB_ID-$host" route replace default via "${LAB_GATEWAY[$host]}"
    done
}

lab_links_down() {
    local host
    for host in "$@"; do
        ip -n "$LAB_ID-$host" link set dev eth0 down
    done
}

lab_start_collector() {
    mkdir -p "$LAB_DIR/flows"
    nfcapd -b 127.0.0.1 -p "$LAB_COLLECTOR_PORT" -w "$LAB_DIR/flows" -t 3600 >>"$LAB_DIR/nfcapd.log" 2>&1 </dev/null &
    LAB_COLLECTOR_PID=$!
    lab_wait "nfcapd" 10 lab_has_udp_port "$LAB_COLLECTOR_PORT"
}

# Ends the collector, which then writes its file.
lab_stop_collector() {
    [[ -n $LAB_COLLECTOR_PID ]] || return 0
    kill -TERM "$LAB_COLLECTOR_PID" 2>/dev/null || true
    wait "$LAB_COLLECTOR_PID" 2>/dev/null || true
    LAB_COLLECTOR_PID=
}

# lab_start BINARIES HUGEPAGES: starts the switch (hugepages: auto, require or never), its collector and its hosts.
lab_start() {
    LAB_BINARIES=$1
    LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/penstock-lab.XXXXXX")
    chmod 755 "$LAB_DIR"
    LAB_COLLECTOR_PORT=$((20000 + $$ % 10000))
    while lab_has_udp_port "$LAB_COLLECTOR_PORT"; do
        LAB_COLLECTOR_PORT=$((LAB_COLLECTOR_PORT + 1))
    done
    lab_start_collector
    lab_write_config "$2" >"$LAB_DIR/lab.yaml"
    "$LAB_BINARIES/penstockd" --check "$LAB_DIR/lab.yaml" >/dev/null
    "$LAB_BINARIES/penstockd" --config "$LAB_DIR/lab.yaml" >"$LAB_DIR/penstockd.log" 2>&1 </dev/null &
    LAB_SWITCH_PID=$!
    if ! lab_wait "the switch to answer" 30 lab_ctl show; then
        cat "$LAB_DIR/penstockd.log" >&2
        return 1
    fi
    local host
    for host in "${LAB_HOSTS[@]}"; do
        lab_plug "$host"
    done
    ip -n "$LAB_ID-blue" address add "$LAB_UNREACHABLE/32" dev eth0
    # shellcheck disable=SC2034 # The caller wants it.
    LAB_METRICS=$(sed -n 's|.*\(http://[^ ]*/metrics\).*|\1|p' "$LAB_DIR/penstockd.log" | head -n 1)
}

# Ends everything that lab_start began, however far it came.
lab_stop() {
    local host pid
    if [[ -n $LAB_SWITCH_PID ]]; then
        kill -TERM "$LAB_SWITCH_PID" 2>/dev/null || true
        lab_wait "the switch to end" 15 lab_is_over "$LAB_SWITCH_PID" || kill -KILL "$LAB_SWITCH_PID" 2>/dev/null || true
        wait "$LAB_SWITCH_PID" 2>/dev/null || true
        LAB_SWITCH_PID=
    fi
    lab_stop_collector
    for host in "${LAB_HOSTS[@]}"; do
        [[ -e /run/netns/$LAB_ID-$host ]] || continue
        for pid in $(ip netns pids "$LAB_ID-$host"); do
            kill -KILL "$pid" 2>/dev/null || true
        done
        ip netns delete "$LAB_ID-$host" || true
    done
    [[ -z $LAB_DIR ]] || rm -rf "$LAB_DIR"
    LAB_DIR=
}
