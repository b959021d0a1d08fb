#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds what an agent serves (agent-services.json, of `sluicectl service list`) against what an API
server holds (truth-services.json, truth-endpointslices.json), worked out here once more and without
sluice's code. Says the first differences and ends with 1 if there are any."""
import ipaddress
import json
import sys

PROXY_NAME = 'service.kubernetes.io/service-proxy-name'
HEADLESS = 'service.kubernetes.io/headless'
SERVICE_OF = 'kubernetes.io/service-name'


def load(folder, name):
    with open(f'{folder}/{name}.json', encoding='utf-8') as file:
        return json.load(file)


def address(text):
    return str(ipaddress.ip_address(text))


def is_ready(endpoint):
    return endpoint.get('conditions', {}).get('ready') is not False


def endpoints_of(slices, families):
    """Port name and protocol -> the addresses with ports that are ready."""
    ready = {}
    for one in slices:
        if one['addressType'] not in families:
            continue
        for port in one.get('ports') or []:
            found = ready.setdefault((port.get('name', ''), port.get('protocol', 'TCP')), set())
            for endpoint in one.get('endpoints') or []:
                if is_ready(endpoint):
                    found.add((address(endpoint['addresses'][0]), port['port']))
    return ready


def wanted(services, slices):
    by_service = {}
    for one in slices:
        labels = one['metadata'].get('labels', {})
        if HEADLESS not in labels:
            key = one['metadata']['namespace'], labels.get(SERVICE_OF)
            by_service.setdefault(key, []).append(one)
    rows = {}
    for service in services:
        meta, spec = service['metadata'], service['spec']
        if spec.get('type') == 'ExternalName' or spec.get('clusterIP') in (None, '', 'None'):
            continue
        if meta.get('labels', {}).get(PROXY_NAME, 'sluice') != 'sluice':
            continue
        key = meta['namespace'], meta['name']
        ready = endpoints_of(by_service.get(key, []), spec['ipFamilies'])
        for port in spec['ports']:
            name, protocol = port.get('name', ''), port.get('protocol', 'TCP')
            rows[key + (name, protocol)] = {
                'ClusterIP': {(address(ip), port['port']) for ip in spec['clusterIPs']},
                'NodePort': {port['nodePort']} if 'nodePort' in port else set(),
                'ready': ready.get((name, protocol), set())}
    return rows


def served(services):
    rows = {}
    for service in services:
        key = tuple(service[part] for part in ('namespace', 'name', 'portName', 'protocol'))
        fronts = service['frontends']
        rows[key] = {
            'ClusterIP': {(address(one['address']), one['port'])
                          for one in fronts if one['kind'] == 'ClusterIP'},
            'NodePort': {one['port'] for one in fronts if one['kind'] == 'NodePort'},
            'ready': {(address(one['address']), one['port'])
                      for one in service['backends'] if one['state'] == 'ready'}}
    return rows


def main(folder):
    truth = wanted(load(folder, 'truth-services')['items'],
                   load(folder, 'truth-endpointslices')['items'])
    agent = served(load(folder, 'agent-services'))
    differences = [f'{key}: API {truth.get(key)}, agent {agent.get(key)}'
                   for key in sorted(truth.keys() | agent.keys())
                   if truth.get(key) != agent.get(key)]
    print(f'{len(truth)} service ports, {len(differences)} differ')
    print('\n'.join(differences[:5]))
    return 1 if differences else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
