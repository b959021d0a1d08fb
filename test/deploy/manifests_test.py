#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every rule of manifests.py finds what it is there for.

usage: manifests_test.py ROOT SLUICED
"""

import copy
import sys

import manifests


def base(deployment):
    return manifests.pod_of(deployment.daemon_set("base"))


def sluiced(deployment):
    return manifests.sluiced_of(deployment)


def replace_config(deployment, name, old, new):
    files = deployment.config_map()["data"]
    assert old in files[name]
    files[name] = files[name].replace(old, new)


# What is broken -> the rule that must say so.
BROKEN = [
    (lambda d: d.kustomizations["base"]["resources"].remove("rbac.yaml"), "every_file_is_used"),
    (lambda d: d.kustomizations["kubeadm"]["resources"].append("../gone"), "every_file_is_used"),
    (lambda d: d.of_kind("ClusterRoleBinding")[0]["roleRef"].update(name="cluster-admin"),
     "rights_are_those_of_kube_proxy"),
    (lambda d: d.of_kind("ServiceAccount")[0]["metadata"].update(name="other"),
     "rights_are_those_of_kube_proxy"),
    (lambda d: base(d).update(tolerations=[]), "pods_are_on_every_node"),
    (lambda d: d.daemon_set("base")["spec"]["selector"]["matchLabels"].update(more="1"),
     "pods_are_on_every_node"),
    (lambda d: sluiced(d)["securityContext"]["capabilities"]["add"].append("SYS_PTRACE"),
     "rights_on_the_node_are_least"),
    (lambda d: base(d)["containers"][1]["securityContext"]["capabilities"].update(add=["BPF"]),
     "rights_on_the_node_are_least"),
    (lambda d: sluiced(d)["securityContext"].update(privileged=True),
     "rights_on_the_node_are_least"),
    (lambda d: sluiced(d)["volumeMounts"].append({"name": "nothing", "mountPath": "/x"}),
     "mounts_have_volumes"),
    (lambda d: base(d)["volumes"][0]["configMap"].update(name="other"), "mounts_have_volumes"),
    (lambda d: base(d)["volumes"][2]["hostPath"].update(path="/tmp"), "node_folders_are_mounted"),
    (lambda d: sluiced(d)["volumeMounts"][-1].pop("mountPropagation"), "node_folders_are_mounted"),
    (lambda d: sluiced(d)["args"].append("--no-such-flag"), "flags_exist"),
    (lambda d: sluiced(d)["env"].clear(), "variables_are_set"),
    (lambda d: replace_config(d, "config.conf", "kubeconfig.conf", "other"),
     "configuration_is_where_it_is_read"),
    (lambda d: replace_config(d, "kubeconfig.conf", "user: default", "user: nobody"),
     "configuration_is_where_it_is_read"),
    (lambda d: sluiced(d).update(readinessProbe={"httpGet": {"path": "/healthz", "port": 10256}}),
     "probes_ask_sluiced_itself"),
    (lambda d: d.kustomizations["once/drain"].update(patches=[]), "steps_are_flags"),
    (lambda d: manifests.pod_of(d.daemon_set("once/base")).pop("hostPID"), "steps_are_flags"),
    (lambda d: sluiced(d).update(image="sluiced"), "images_are_named_once"),
]


def main():
    whole = manifests.Deployment(sys.argv[1], manifests.flags_of(sys.argv[2]))
    failures = manifests.problems(whole)
    for number, (change, wanted) in enumerate(BROKEN):
        deployment = copy.deepcopy(whole)
        change(deployment)
        found = {problem.split(":")[0] for problem in manifests.problems(deployment)}
        if wanted not in found:
            failures.append(f"case {number}: {wanted} found nothing, others: {found}")
    untested = {one.__name__ for one in manifests.RULES} - {wanted for _, wanted in BROKEN}
    failures += [f"{name} was never seen to fail" for name in sorted(untested)]
    print("\n".join(failures) or f"{len(BROKEN)} broken deployments, all found")
    return 1 if failures else 0


sys.exit(main())
