#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What an API server answers to a node's proxy, and how it refuses: the API server for tests and a
# real one are held to the same words.
# shellcheck source=api.sh
source "$(dirname "${BASH_SOURCE[0]}")/api.sh"

SERVICES=/api/v1/services
SLICES=/apis/discovery.k8s.io/v1/endpointslices
STREAM='watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan'
PROTOBUF=application/vnd.kubernetes.protobuf

open_api_cluster
api_nodes
service web ClusterIP TCP 80 - $WEB4 $WEB6 "$DUAL" | manifest web.yaml
web_on a1 b1
api_apply

# ask <path> [Accept]: the body goes to $CLUSTER_DIR/body, the code and content type are printed.
ask() {
  cluster_in router curl -s --max-time 10 --cacert "$CLUSTER_DIR/pki/ca.crt" \
    -H "Authorization: Bearer $TOKEN" -H "Accept: ${2:-application/json}" -g \
    -o "$CLUSTER_DIR/body" -w '%{http_code} %{content_type}' "$API_URL$1" || true
}

# answers <path> <code> <content type> <expression of the body d, which must be true> [Accept]
answers() {
  local got
  got=$(ask "$1" "${5:-}")
  expect_equal "$1" "${got%%;*}" "$2 $3"
  [[ -z $4 || $(json "bool($4)" <"$CLUSTER_DIR/body") == True ]] ||
    fail "$1: not so: $4 of $(head -c 600 "$CLUSTER_DIR/body")"
}

# refuses <path> <code> <reason> <regular expression of the message>
refuses() {
  answers "$1" "$2" application/json \
    "d['kind'] == 'Status' and d['code'] == $2 and d['reason'] == '$3'"
  expect_match "$1" "$(json 'd["message"]' <"$CLUSTER_DIR/body")" "$4"
}

TOKEN=$(sed -n 's/.*token: "\(.*\)"}}.*/\1/p' "$KUBECONFIG_FILE")
JSON=application/json

step 'lists and objects'
answers "$SERVICES?fieldSelector=metadata.name%3Dweb" 200 $JSON \
  "d['kind'] == 'ServiceList' and [s['metadata']['name'] for s in d['items']] == ['web'] and
   'kind' not in d['items'][0] and d['items'][0]['spec']['clusterIP'] == '$WEB4'"
answers "$SLICES?labelSelector=!service.kubernetes.io/headless" 200 $JSON \
  "[s['metadata']['name'] for s in d['items']] == ['web-ipv4', 'web-ipv6']"
answers "$SLICES?labelSelector=service.kubernetes.io/headless" 200 $JSON "d['items'] == []"
answers /api/v1/nodes/node-a 200 $JSON "d['kind'] == 'Node' and d['apiVersion'] == 'v1'"
answers "$SLICES?limit=1" 200 $JSON \
  "len(d['items']) == 1 and d['metadata']['remainingItemCount'] == 1 and d['metadata']['continue']"
answers $SERVICES 200 $PROTOBUF '' "$PROTOBUF, application/json"
expect_equal 'magic' "$(head -c 4 "$CLUSTER_DIR/body" | tr '\0' 0)" k8s0
answers /apis/networking.k8s.io/v1/servicecidrs 200 $JSON \
  "d['items'][0]['metadata']['name'] == 'kubernetes'"

step 'watches'
answers "$SLICES?$STREAM&timeoutSeconds=1" 200 $JSON ''
expect_equal 'a streaming list' "$(python3 -c 'import json, sys
for line in sys.stdin:
    event = json.loads(line)
    meta = event["object"]["metadata"]
    print(event["type"], meta.get("name"),
          meta.get("annotations", {}).get("k8s.io/initial-events-end"), end=";")' \
  <"$CLUSTER_DIR/body" | cut -d';' -f1-3)" \
  'ADDED web-ipv4 None;ADDED web-ipv6 None;BOOKMARK None true'
answers "$SLICES?$STREAM&timeoutSeconds=1" 200 $PROTOBUF '' "$PROTOBUF;stream=watch"
expect_equal 'the first frame' \
  "$(head -c 11 "$CLUSTER_DIR/body" | tail -c 7 | tr -d '\n\005')" ADDED

step 'refusals'
refuses "$SERVICES?watch=1&sendInitialEvents=true" 422 Invalid 'resourceVersionMatch'
refuses "$SERVICES?watch=1&resourceVersionMatch=NotOlderThan" 422 Invalid 'resourceVersionMatch'
refuses "$SERVICES?continue=xyz" 400 BadRequest 'continue'
refuses "$SERVICES?labelSelector=a%3Db%3Dc" 400 BadRequest ''
refuses "$SERVICES?resourceVersion=99999999" 504 Timeout \
  '^Timeout: Too large resource version: 99999999, current: [0-9]+$'
answers "$SERVICES?$STREAM&resourceVersion=99999999" 200 $JSON \
  "d['type'] == 'ERROR' and d['object']['code'] == 504 and d['object']['reason'] == 'Timeout'"
refuses /api/v1/pods 403 Forbidden \
  "^pods is forbidden: User \"$API_USER\" cannot list resource \"pods\" in API group \"\" \
at the cluster scope"
refuses $SLICES/x 403 Forbidden '^endpointslices.discovery.k8s.io "x" is forbidden: User '
refuses /api/v1/nodes/none 404 NotFound '^nodes "none" not found$'
answers /api/v1/nodes 406 $JSON "d['reason'] == 'NotAcceptable'" application/x-unknown
TOKEN=wrong
refuses $SERVICES 401 Unauthorized '^Unauthorized$'
