#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""churn.py FOLDER ROUND COUNT: changes manifests of FOLDER, COUNT objects of them, the same ones
for the same ROUND: creates, changes and deletes Services and EndpointSlices. Prints how many."""
import json
import os
import random
import sys

SERVICES = 60


def service(index, dice):
    ports = []
    for i in range(dice.randint(1, 3)):
        protocol = dice.choice(['TCP', 'UDP'])
        ports.append({'name': f'p{i}-{protocol.lower()}', 'protocol': protocol,
                      'port': 1000 + 10 * i})
    kind = dice.choice(['ClusterIP', 'ClusterIP', 'NodePort'])
    for i, port in enumerate(ports):
        if kind == 'NodePort':
            port['nodePort'] = 31000 + 3 * index + i
    return {'apiVersion': 'v1', 'kind': 'Service',
            'metadata': {'name': f's{index}', 'namespace': 'default'},
            'spec': {'type': kind, 'clusterIP': f'10.96.7.{index + 1}',
                     'clusterIPs': [f'10.96.7.{index + 1}', f'fd00:10:96::{0x700 + index:x}'],
                     'ipFamilies': ['IPv4', 'IPv6'], 'ipFamilyPolicy': 'RequireDualStack',
                     'ports': ports}}


def endpoint_slice(index, part, dice):
    four = part % 2 == 0
    endpoints = []
    for _ in range(dice.randint(0, 6)):
        low = dice.randint(1, 250)
        at = f'10.244.{index}.{low}' if four else f'fd00:10:244:{index + 1:x}::{low:x}'
        ready = dice.random() < 0.8
        endpoints.append({'addresses': [at], 'nodeName': dice.choice(['node-a', 'node-b']),
                          'conditions': {'ready': ready, 'serving': ready, 'terminating': False}})
    unique = {one['addresses'][0]: one for one in endpoints}
    return {'apiVersion': 'discovery.k8s.io/v1', 'kind': 'EndpointSlice',
            'metadata': {'name': f's{index}-{part}', 'namespace': 'default',
                         'labels': {'kubernetes.io/service-name': f's{index}'}},
            'addressType': 'IPv4' if four else 'IPv6',
            'ports': [{'name': f'p{i}-{protocol.lower()}', 'protocol': protocol, 'port': 8000 + i}
                      for i in range(3) for protocol in ('TCP', 'UDP')],
            'endpoints': list(unique.values())}


def main(folder, seed, count):
    dice = random.Random(seed)
    changed = 0
    while changed < count:
        index, part = dice.randrange(SERVICES), dice.randrange(3)
        is_service = dice.random() < 0.3
        path = f'{folder}/s{index}' + ('.yaml' if is_service else f'-{part}.yaml')
        if dice.random() < 0.15:
            if not os.path.exists(path):
                continue
            os.remove(path)
        else:
            made = service(index, dice) if is_service else endpoint_slice(index, part, dice)
            with open(f'{folder}/.new', 'w', encoding='utf-8') as file:
                json.dump(made, file)
            os.rename(f'{folder}/.new', path)
        changed += 1
    print(changed)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
