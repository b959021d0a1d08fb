#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What must hold between the manifests of deploy/, the image and the program.

usage: manifests.py ROOT SLUICED

Reads the YAML as kustomize does, as far as deploy/ uses it, and says what does not fit; the schema
itself is the API server's to judge (dry_run_test.sh). manifests_test.py sees each rule fail.
"""

import os
import re
import subprocess
import sys

import yaml

NEEDED_CAPABILITIES = ["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN"]
STEPS = ["cleanup-kube-proxy", "drain", "cleanup"]


class Deployment:
    """deploy/ as objects; tests change them."""

    def __init__(self, root, flags):
        self.flags = flags
        self.folder = os.path.join(root, "deploy")
        self.kustomizations = {}
        self.objects = {}
        for folder, _, names in os.walk(self.folder):
            if "kustomization.yaml" not in names:
                continue
            path = os.path.relpath(folder, self.folder)
            with open(os.path.join(folder, "kustomization.yaml"), encoding="utf-8") as file:
                self.kustomizations[path] = yaml.safe_load(file)
            for name in names:
                if name.endswith(".yaml") and name != "kustomization.yaml":
                    with open(os.path.join(folder, name), encoding="utf-8") as file:
                        self.objects[f"{path}/{name}"] = list(yaml.safe_load_all(file))

    def of_kind(self, kind, under=""):
        return [one for path, objects in sorted(self.objects.items()) if path.startswith(under)
                for one in objects if one["kind"] == kind]

    def daemon_set(self, folder):
        return self.of_kind("DaemonSet", folder + "/")[0]

    def config_map(self):
        return self.of_kind("ConfigMap", "base/")[0]


RULES = []


def rule(function):
    RULES.append(function)
    return function


def pod_of(daemon_set):
    return daemon_set["spec"]["template"]["spec"]


def containers_of(pod):
    return pod.get("initContainers", []) + pod["containers"]


def sluiced_of(deployment):
    return pod_of(deployment.daemon_set("base"))["containers"][0]


@rule
def every_file_is_used(deployment):
    for path in deployment.objects:
        folder, name = os.path.split(path)
        if name not in deployment.kustomizations[folder]["resources"]:
            yield f"{path} is in no kustomization"
    for folder, kustomization in deployment.kustomizations.items():
        for resource in kustomization["resources"]:
            path = os.path.normpath(os.path.join(folder, resource))
            if path not in deployment.objects and path not in deployment.kustomizations:
                yield f"{folder}: no {resource}"


@rule
def rights_are_those_of_kube_proxy(deployment):
    bindings = deployment.of_kind("ClusterRoleBinding")
    others = [one["kind"] for kind in ("Role", "RoleBinding", "ClusterRole")
              for one in deployment.of_kind(kind)]
    if others or [one["roleRef"] for one in bindings] != [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
             "name": "system:node-proxier"}]:
        yield "other rights than the ClusterRole system:node-proxier"
    account = pod_of(deployment.daemon_set("base"))["serviceAccountName"]
    for binding in bindings:
        if binding["subjects"] != [{"kind": "ServiceAccount", "name": account,
                                    "namespace": "kube-system"}]:
            yield "the binding is not that of the DaemonSet's account"
    if [one["metadata"]["name"] for one in deployment.of_kind("ServiceAccount")] != [account]:
        yield "no such ServiceAccount"


@rule
def pods_are_on_every_node(deployment):
    for daemon_set in deployment.of_kind("DaemonSet"):
        pod, name = pod_of(daemon_set), daemon_set["metadata"]["name"]
        wanted = {"priorityClassName": "system-node-critical", "hostNetwork": True,
                  "nodeSelector": {"kubernetes.io/os": "linux"}, "dnsPolicy": "Default",
                  "tolerations": [{"operator": "Exists"}]}
        for field, value in wanted.items():
            if pod.get(field) != value:
                yield f"{name}: {field} is {pod.get(field)}"
        labels = daemon_set["spec"]["template"]["metadata"]["labels"].items()
        if not daemon_set["spec"]["selector"]["matchLabels"].items() <= labels:
            yield f"{name}: its selector does not match its pods"


@rule
def rights_on_the_node_are_least(deployment):
    context = sluiced_of(deployment)["securityContext"]
    if context["capabilities"] != {"drop": ["ALL"], "add": NEEDED_CAPABILITIES}:
        yield f"capabilities are {context['capabilities']}"
    for field, value in {"privileged": False, "allowPrivilegeEscalation": False,
                         "readOnlyRootFilesystem": True}.items():
        if context.get(field) is not value:
            yield f"{field} is {context.get(field)}"
    for other in pod_of(deployment.daemon_set("base"))["containers"][1:]:
        if other["securityContext"]["capabilities"] != {"drop": ["ALL"]}:
            yield f"{other['name']} has capabilities"
    if pod_of(deployment.daemon_set("base")).get("hostPID"):
        yield "hostPID"


@rule
def mounts_have_volumes(deployment):
    for daemon_set in deployment.of_kind("DaemonSet"):
        pod, name = pod_of(daemon_set), daemon_set["metadata"]["name"]
        volumes = {one["name"] for one in pod["volumes"]}
        used = {mount["name"] for one in containers_of(pod) for mount in
                one.get("volumeMounts", [])}
        if volumes != used:
            yield f"{name}: volumes {sorted(volumes)}, mounted {sorted(used)}"
        for volume in pod["volumes"]:
            if volume["name"] == "config" and volume["configMap"]["name"] != \
                    deployment.config_map()["metadata"]["name"]:
                yield f"{name}: no ConfigMap {volume['configMap']['name']}"


@rule
def node_folders_are_mounted(deployment):
    mounts = {one["name"]: one for one in sluiced_of(deployment)["volumeMounts"]}
    paths = {one["name"]: one.get("hostPath", {}).get("path")
             for one in pod_of(deployment.daemon_set("base"))["volumes"]}
    if paths.get("bpffs") != "/sys/fs/bpf" or mounts["bpffs"]["mountPath"] != "/sys/fs/bpf":
        yield "pins would not outlive the container"
    if paths.get("state") != mounts["state"]["mountPath"]:
        yield "the state folder is another in the container than in the steps"
    cgroup = [one for one in sluiced_of(deployment)["args"] if one.startswith("--cgroup=")]
    if paths.get("cgroup2") != "/sys/fs/cgroup" or cgroup != [
            "--cgroup=" + mounts["cgroup2"]["mountPath"]]:
        yield "--cgroup is not the node's cgroup v2 folder"
    # Pods that start later must be seen too.
    if paths.get("netns") != "/run/netns" or mounts["netns"]["mountPath"] != "/run/netns" or \
            mounts["netns"].get("mountPropagation") != "HostToContainer":
        yield "the network namespaces of Pods would not be found"


@rule
def flags_exist(deployment):
    for daemon_set in deployment.of_kind("DaemonSet"):
        for container in containers_of(pod_of(daemon_set)):
            for argument in container.get("args", []):
                flag = argument.split("=")[0]
                if flag not in deployment.flags:
                    yield f"sluiced has no flag {flag}"


@rule
def variables_are_set(deployment):
    container = sluiced_of(deployment)
    names = {one["name"] for one in container["env"]}
    for argument in container["args"]:
        for name in re.findall(r"\$\((\w+)\)", argument):
            if name not in names:
                yield f"$({name}) is not set"


@rule
def configuration_is_where_it_is_read(deployment):
    files = deployment.config_map()["data"]
    config = yaml.safe_load(files["config.conf"])
    if config["kind"] != "KubeProxyConfiguration":
        yield "config.conf is of another kind"
    folder = next(one["mountPath"] for one in sluiced_of(deployment)["volumeMounts"]
                  if one["name"] == "config")
    if f"--config={folder}/config.conf" not in sluiced_of(deployment)["args"]:
        yield "--config names another file"
    place, name = os.path.split(config["clientConnection"]["kubeconfig"])
    if place != folder or name not in files:
        yield "config.conf names a kubeconfig that is not there"
    kubeconfig = yaml.safe_load(files["kubeconfig.conf"])
    contexts = {one["name"]: one["context"] for one in kubeconfig["contexts"]}
    context = contexts.get(kubeconfig["current-context"], {})
    if context.get("cluster") not in [one["name"] for one in kubeconfig["clusters"]] or \
            context.get("user") not in [one["name"] for one in kubeconfig["users"]]:
        yield "the kubeconfig's context leads nowhere"


@rule
def probes_ask_sluiced_itself(deployment):
    # Not the port of /healthz: that is kube-proxy's until it goes.
    for probe, what in (("startupProbe", "live"), ("livenessProbe", "live"),
                        ("readinessProbe", "ready")):
        wanted = {"command": ["sluicectl", "probe", what]}
        if sluiced_of(deployment).get(probe, {}).get("exec") != wanted:
            yield f"{probe} does not ask by sluicectl probe {what}"


@rule
def steps_are_flags(deployment):
    for step in STEPS:
        kustomization = deployment.kustomizations.get(f"once/{step}", {"patches": []})
        values = [operation["value"] for patch in kustomization["patches"]
                  for operation in yaml.safe_load(patch["patch"])]
        if values != [f"--{step}"] or values[0] not in deployment.flags:
            yield f"once/{step} is not sluiced --{step}"
    if not pod_of(deployment.daemon_set("once/base")).get("hostPID"):
        yield "a kube-proxy that runs would not be seen"


@rule
def images_are_named_once(deployment):
    for folder in ("base", "once/base"):
        images = [one["name"] for one in deployment.kustomizations[folder]["images"]]
        for container in containers_of(pod_of(deployment.daemon_set(folder))):
            if container["image"] not in images:
                yield f"{folder}: image {container['image']} is not set by kustomize"
    if deployment.kustomizations["base"]["images"] != \
            deployment.kustomizations["once/base"]["images"]:
        yield "the steps have another image"


def problems(deployment):
    found = []
    for one in RULES:
        found += [f"{one.__name__}: {problem}" for problem in one(deployment)]
    return found


def flags_of(sluiced):
    text = subprocess.run([sluiced, "--help"], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"--[a-z][a-z0-9-]+", text))


def main():
    found = problems(Deployment(sys.argv[1], flags_of(sys.argv[2])))
    print("\n".join(found) or f"{len(RULES)} rules hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
