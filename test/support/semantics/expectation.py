# SPDX-License-Identifier: Apache-2.0
"""What those who run the flows of table.py's table have in common: how often to try, and whether
what was seen is what the table says."""

import math

# What a runner cannot ask: sluicectl trace makes no echoes, and kernels may have no SCTP sockets.
LEFT_OUT = {"desired": set(), "trace": {"ICMP"}, "packets": {"SCTP"}}
# One flow in so many may miss an endpoint by chance; the table has some thousand of them.
MISSED_ONCE_IN = 1e9
# Where one endpoint is expected: enough to see that there is no other.
FEWEST_TRIES = 12


def tries(flow):
    """How often to ask so that each of the n endpoints is met: it is not with n (1 - 1/n)^tries."""
    count = len(flow["endpoints"])
    if count < 2:
        return FEWEST_TRIES
    return math.ceil(math.log(1 / MISSED_ONCE_IN / count) / math.log(1 - 1 / count))


def runs_in(runner, flow):
    return flow["protocol"] not in LEFT_OUT[runner]


def name(flow):
    return (f"{flow['case']}: {flow['client']} {flow['source']}, {flow['protocol']} to "
            f"{flow['destination']} {flow['port']}")


def problems_of(flow, answers, is_real):
    """What is wrong with a set of (who answered, the client's address that it saw). `is_real`: by
    what was sent before, a client may be bound to an endpoint, or an endpoint be the busiest."""
    expected = {(one["name"], one["sees"]) for one in flow["endpoints"]}
    answers = {(one, sees if (one, "") not in expected else "") for one, sees in answers}
    if is_real and flow["affinity"] and len(answers) != 1:
        return [f"bound to one, and met {sorted(answers)}"]
    if is_real and (flow["affinity"] or not flow["every"]):
        expected &= answers
    problems = [f"met {one}, who sees {sees}" for one, sees in sorted(answers - expected)]
    problems += [f"never met {one}, seeing {sees}" for one, sees in sorted(expected - answers)]
    return problems


def report(setup, flows, failures):
    """Prints the outcome; returns the exit code."""
    for failure in sorted(failures)[:40]:
        print(failure)
    print(f"   {setup}: {flows} flows, {len(failures)} failed")
    return 1 if failures else 0
