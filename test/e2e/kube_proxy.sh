# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What a kube-proxy does to a node, for the tests of the takeover, with expect.sh; to be sourced.
# The services are the usual ones (expect.sh), `void` without endpoints, and a load balancer with
# source ranges, on the pods named.

# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

LB_IP4=203.0.113.80 LB_IP6=2001:db8:b::80

# kube_proxy_services <4|6> <pod...>: what kube_proxy_rules.py reads.
kube_proxy_services() {
  local family=$1 pod ends=() udp_ends=() address
  local web=$WEB4 echo=$ECHO4 void=10.96.0.99 balancer=10.96.0.98 lb=$LB_IP4 ranges='192.0.2.0/24'
  local pod_net=10.244.0.0/16 service=10.96.0.0/16 node=${CLUSTER_V4[node-a]}
  shift
  if [[ $family == 6 ]]; then
    web=$WEB6 echo=$ECHO6 void=fd00:10:96::99 balancer=fd00:10:96::98 lb=$LB_IP6
    ranges='2001:db8:c::/64' pod_net=fd00:10:244::/48 service=fd00:10:96::/112
    node=${CLUSTER_V6[node-a]}
  fi
  for pod in "$@"; do
    address=${CLUSTER_V4[$pod]}
    [[ $family == 4 ]] || address=${CLUSTER_V6[$pod]}
    ends+=("[\"$address\", 8080, $([[ $pod == a* ]] && echo true || echo false)]")
    udp_ends+=("[\"$address\", 5353, $([[ $pod == a* ]] && echo true || echo false)]")
  done
  local IFS=,
  cat <<JSON
{"podCidr": "$pod_net", "serviceCidr": "$service", "nodeAddress": "$node", "services": [
  {"name": "default/web:main", "protocol": "tcp", "ip": "$web", "port": 80, "nodePort": 30080,
   "endpoints": [${ends[*]}]},
  {"name": "default/echo:main", "protocol": "udp", "ip": "$echo", "port": 53, "nodePort": 30053,
   "endpoints": [${udp_ends[*]}]},
  {"name": "default/balancer:main", "protocol": "tcp", "ip": "$balancer", "port": 80,
   "nodePort": 30098, "balancerIP": "$lb", "sourceRanges": ["$ranges"],
   "endpoints": [${ends[*]}]},
  {"name": "default/void:main", "protocol": "tcp", "ip": "$void", "port": 80, "endpoints": []}]}
JSON
}

# kube_proxy_syncs <iptables-legacy|iptables-nft|nftables> <pod...>: node-a as kube-proxy makes it.
kube_proxy_syncs() {
  local mode=$1 family six rules
  shift
  for family in 4 6; do
    six=${family/4/}
    rules=$CLUSTER_DIR/kube-proxy-$family.rules
    kube_proxy_services "$family" "$@" |
      python3 "$CLUSTER_E2E/kube_proxy_rules.py" "${mode%-*}" "$family" >"$rules"
    if [[ $mode == nftables ]]; then
      cluster_in node-a nft -f "$rules"
    else
      cluster_in node-a "ip${six}tables-${mode#*-}-restore" --noflush <"$rules"
    fi
  done
}

# Everything netfilter has on node-a, as one text without counters and remarks.
netfilter_rules() {
  local program
  for program in ip{,6}tables-{legacy,nft}-save; do
    printf '== %s\n' "$program"
    cluster_in node-a "$program" 2>/dev/null | sed -E '/^#/d; s/ \[[0-9]+:[0-9]+\]$//'
  done
  cluster_in node-a nft --stateless list ruleset 2>/dev/null
}

# expect_rules <what> <wanted>: netfilter_rules prints that.
expect_rules() {
  diff <(printf '%s\n' "$2") <(netfilter_rules) >"$CLUSTER_DIR/rules.diff" ||
    fail "$1: $(head -n 20 "$CLUSTER_DIR/rules.diff")"
}

# Rules of others on node-a: a CNI's, kubelet's, kube-router's, an administrator's. Some look much
# like kube-proxy's. They keep the tables, and netfilter's connection tracking, in use.
others_rules() {
  local six variant pod_net
  for six in '' 6; do
    pod_net=10.244.0.0/16
    [[ -z $six ]] || pod_net=fd00:10:244::/48
    for variant in legacy nft; do
      cluster_in node-a "ip${six}tables-$variant-restore" --noflush <<RULES
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-MASQ - [0:0]
:KUBE-MARK-DROP - [0:0]
:KUBE-ROUTER-SNAT - [0:0]
:KUBE-SVC-BACKDOOR - [0:0]
-A POSTROUTING -s $pod_net -m comment --comment "as kube-proxy: -j KUBE-SERVICES" -j CNI-MASQ
-A POSTROUTING -j KUBE-ROUTER-SNAT
-A CNI-MASQ -d $pod_net -j RETURN
-A CNI-MASQ ! -o cali+ -m comment --comment "a \"quoted\" remark" -j MASQUERADE
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
-A KUBE-SVC-BACKDOOR -j RETURN
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m comment --comment "KUBE-FORWARD" -j KUBE-ROUTER-FORWARD
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
COMMIT
*mangle
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-IPTABLES-HINT - [0:0]
COMMIT
RULES
    done
  done
  cluster_in node-a nft -f - <<'RULES'
table inet kube-proxy {
  chain KUBE-SERVICES { type filter hook input priority 10; }
}
table ip kube-proxy-mine {
  chain services {
    ip daddr 10.96.0.10 accept
  }
}
RULES
}

# sluiced --cleanup-kube-proxy must not touch a thing while a kube-proxy runs beside it.
rejects_proxy_that_runs() {
  local before said code=0
  [[ -e $CLUSTER_DIR/kube-proxy ]] || cp "$(command -v sleep)" "$CLUSTER_DIR/kube-proxy"
  before=$(netfilter_rules)
  cluster_spawn kube-proxy node-a "$CLUSTER_DIR/kube-proxy" 1000
  eventually 'a process kube-proxy' grep -qx kube-proxy "/proc/${CLUSTER_PIDS[kube-proxy]}/comm"
  said=$(cluster_in node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup-kube-proxy 2>&1) || code=$?
  expect_equal 'exit code while a kube-proxy runs' "$code" 1
  expect_match 'while a kube-proxy runs' "$said" \
    "kube-proxy runs in this network namespace .process ${CLUSTER_PIDS[kube-proxy]}"
  cluster_kill kube-proxy
  expect_rules 'while a kube-proxy runs' "$before"
}

# The servers of a kube-proxy on node-a: port 10256 and 10249, which it holds until it ends.
kube_proxy_serves() {
  rm -f "$CLUSTER_DIR/kube-proxy-ports.log"  # of one before
  cluster_spawn kube-proxy-ports node-a python3 -u -c '
import http.server, threading, time
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"kube-proxy")
    def log_message(self, *_):
        pass
def serve(*address):
    # The keeper of an agent that ended holds the port for ten seconds.
    for _ in range(200):
        try:
            server = http.server.ThreadingHTTPServer(address, Answer)
            return threading.Thread(target=server.serve_forever).start()
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{address} is in use")
serve("0.0.0.0", 10256)
serve("127.0.0.1", 10249)
print("serves")'
  cluster_await_log kube-proxy-ports '^serves' || fail 'kube-proxy serves nothing'
}

# who_answers <port/path>: kube-proxy, sluice or nobody.
who_answers() {
  local said
  said=$(cluster_in node-a curl -sf -m 5 "http://127.0.0.1:$1") || { echo nobody && return; }
  [[ $said == kube-proxy ]] && echo kube-proxy || echo sluice
}

sluice_answers() {
  [[ $(who_answers "$1") == sluice ]]
}
