#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bad manifests: each gets an error that names file, line and object; the others, and what the bad
# one said before, stay in force. Traffic goes on all the while.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"
# shellcheck source=words_of_tomorrow.sh
source "$(dirname "${BASH_SOURCE[0]}")/words_of_tomorrow.sh"

open_cluster
cluster_serve a1 a2 b1
usual_manifests a1 a2
cluster_agent node-a "$MANIFESTS"
load_start pod a2 "$WEB4:80" "[$WEB6]:80" --concurrency 2

# reported <file> <expression> <what>: that file's problem matches, the services still answer.
reported() {
  in_force
  expect_match "$3" "$(problems)" "$2"
  expect_match "$3: the log says it too" "$(cat "$CLUSTER_DIR/sluiced-node-a.log")" "$1"
  expect_match "$3: web answers" "$(probe a2 $WEB4 80)" '^answer'
  expect_match "$3: echo answers" "$(probe a2 $ECHO6 53 --protocol udp)" '^answer'
}

# bad <expression> <what>: a file of its own, from standard input.
bad() {
  manifest bad.yaml
  step "$2"
  reported bad.yaml "$1" "$2"
  rm "$MANIFESTS/bad.yaml"
  in_force
  expect_equal "$2: forgotten with its file" "$(problems)" ''
}

bad 'bad\.yaml:[34]' 'YAML that does not parse' <<'YAML'
apiVersion: v1
kind: Service
metadata: {name: broken
spec: [
YAML
bad 'bad\.yaml.*CronWidget' 'an unknown kind' <<'YAML'
apiVersion: example.org/v1
kind: CronWidget
metadata: {name: one, namespace: default}
YAML
bad 'bad\.yaml:[0-9]+.*default/wrong|default/wrong.*bad\.yaml:[0-9]+' 'a wrong type' <<'YAML'
apiVersion: v1
kind: Service
metadata: {name: wrong, namespace: default}
spec:
  clusterIP: 10.96.0.77
  ports: {name: main}
YAML
bad 'default/wrong.*70000|70000.*default/wrong' 'a port out of range' <<'YAML'
apiVersion: v1
kind: Service
metadata: {name: wrong, namespace: default}
spec:
  clusterIP: 10.96.0.77
  ports: [{name: main, port: 70000}]
YAML
bad 'default/wrong.*10\.96\.0\.777' 'a ClusterIP that does not parse' <<'YAML'
apiVersion: v1
kind: Service
metadata: {name: wrong, namespace: default}
spec:
  clusterIP: 10.96.0.777
  ports: [{name: main, port: 80}]
YAML
bad 'default/wrong-1.*010\.244\.1\.11' 'an endpoint address with leading zeros' <<'YAML'
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: wrong-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: main, port: 8080, protocol: TCP}]
endpoints: [{addresses: ["010.244.1.11"]}]
YAML

step "words of tomorrow: a line each with the default in force, and the rest stands"
words_of_tomorrow | manifest bad.yaml
in_force
expect_match 'what can be served is' "$(probe a2 10.96.0.81 80)" '^answer b1'
words_are_told
expect_told 'Service default/later' 'spec.tomorrow: unknown field; it is ignored'
expect_told 'EndpointSlice default/later-ipv4' 'endpoints[0].conditions.draining: unknown field;'
ip_mode_of_tomorrow | manifest bad.yaml
in_force
ip_mode_is_told
rm "$MANIFESTS/bad.yaml"
in_force
expect_equal 'forgotten with the file' "$(problems)" ''

step 'one bad document does not take the others of its file with it'
{ service more ClusterIP TCP 80 - 10.96.0.80 fd00:10:96::80 && slices more TCP 8080 b1 &&
  printf -- '---\nkind: [\n'; } | manifest bad.yaml
in_force
expect_match 'reported' "$(problems)" 'bad\.yaml:[0-9]+'
expect_match 'what came before it in the file' "$(probe a2 10.96.0.80 80)" '^answer b1'
rm "$MANIFESTS/bad.yaml"
in_force

step 'what a document said before it broke stays in force'
echo 'kind: [' | manifest web-endpoints.yaml
reported web-endpoints.yaml 'web-endpoints\.yaml:[0-9]+' 'a file that breaks'
spread a2 $WEB4 80 300 a1,a2
web_moves_to pod b1 a1 a2
spread a2 $WEB4 80 50 b1
expect_equal 'mended' "$(problems)" ''

step 'a slice for no service'
slices nobody TCP 8080 b1 | manifest nobody.yaml
in_force
expect_match 'web answers' "$(probe a2 $WEB4 80)" '^answer b1'
rm "$MANIFESTS/nobody.yaml"

step 'a file of 200 MB'
truncate -s 200M "$CLUSTER_DIR/huge.yaml"
mv "$CLUSTER_DIR/huge.yaml" "$MANIFESTS/huge.yaml"
reported huge.yaml 'huge\.yaml' 'too large'
rm "$MANIFESTS/huge.yaml"

step 'a slice of 100,000 endpoints'
python3 - <<'PY' | manifest many.yaml
print("""apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: many, namespace: default, labels: {kubernetes.io/service-name: many}}
addressType: IPv4
ports: [{name: main, port: 8080, protocol: TCP}]
endpoints:""")
for n in range(100_000):
    print(f'- {{addresses: ["10.{n // 65536 + 8}.{n // 256 % 256}.{n % 256}"]}}')
PY
cluster_ctl node-a sync --timeout 60s >/dev/null || fail 'sync with a slice of 100,000'
expect_match 'web answers' "$(probe a2 $WEB4 80)" '^answer b1'
rm "$MANIFESTS/many.yaml"

step 'files that come and go while they are read'
for n in {1..60}; do
  slices "gone$n" TCP 8080 b1 >"$MANIFESTS/gone.yaml"
  rm -f "$MANIFESTS/gone.yaml"
  ln -sf nowhere.yaml "$MANIFESTS/dangling.yaml"
  rm -f "$MANIFESTS/dangling.yaml"
done
in_force
expect_equal 'nothing left to report' "$(problems)" ''

step 'a file that may not be read, a folder named like a file'
mkdir "$MANIFESTS/folder.yaml"
in_force
expect_match 'web answers' "$(probe a2 $WEB4 80)" '^answer b1'
rmdir "$MANIFESTS/folder.yaml"

step 'the whole folder goes'
mv "$MANIFESTS" "$MANIFESTS.away"
cluster_ctl node-a sync --timeout 2s >/dev/null 2>&1 || true
expect_match 'what it said stays in force' "$(probe a2 $WEB4 80)" '^answer b1'
mv "$MANIFESTS.away" "$MANIFESTS"
in_force
web_moves_to pod a1 b1
spread a2 $WEB4 80 50 a1
load_stop_without_failure pod
