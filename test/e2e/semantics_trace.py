#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks `sluicectl trace` for every flow of one setup of the table.

usage: semantics_trace.py TABLE SETUP SLUICECTL [ARGUMENT...]; in the agent's network namespace
"""

import concurrent.futures
import ipaddress
import json
import subprocess
import sys

import expectation

HOOKS = {"pod": "pod", "node": "host", "outside": "net"}
WORKERS = 3


def endpoint(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def address_of(text):
    return str(ipaddress.ip_address(text.rpartition(":")[0].strip("[]")))


def problems_of(flow, sluicectl):
    # Said, so that sluicectl does not have to ask the agent for all that it knows.
    interface = f"cali{flow['role']}" if flow["from"] == "pod" else "eth0"
    run = subprocess.run(
        [*sluicectl, "-o", "json", "trace", "--hook", HOOKS[flow["from"]], "--src", flow["source"],
         "--dst", endpoint(flow["destination"], flow["port"]),
         "--protocol", flow["protocol"].lower(), "--interface", interface,
         "--count", str(expectation.tries(flow))], text=True, capture_output=True, check=False)
    if run.returncode:
        return [run.stderr.strip()]
    answers = json.loads(run.stdout)
    said = {(one["verdict"], one["reason"]) for one in answers}
    if said != {(flow["verdict"], flow["reason"])}:
        return [f"{sorted(said)} instead of {flow['verdict']} {flow['reason']}"]
    if flow["verdict"] != "forward":
        return []
    names = {endpoint(one["address"], one["port"]): one["name"] for one in flow["endpoints"]}
    return expectation.problems_of(
        flow, {(names.get(one["backend"], one["backend"]), address_of(one["source"]))
               for one in answers}, is_real=False)


def main():
    table, setup, *sluicectl = sys.argv[1:]
    with open(table, encoding="utf-8") as file:
        flows = next(one["flows"] for one in json.load(file)["setups"] if one["name"] == setup)
    flows = [flow for flow in flows if expectation.runs_in("trace", flow)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        outcomes = pool.map(lambda flow: problems_of(flow, sluicectl), flows)
        failures = [f"{expectation.name(flow)}: {problem}"
                    for flow, problems in zip(flows, outcomes) for problem in problems]
    return expectation.report(setup, len(flows), failures)


sys.exit(main())
