# SPDX-License-Identifier: Apache-2.0
"""Objects, straight into an API server: 20,000 of them by kubectl would take an hour."""

import concurrent.futures
import ctypes
import http.client
import json
import os
import ssl
import threading
import time
import urllib.parse

from bench_sides import Failure

CONNECTIONS = 8
IDLE_SECONDS = 30  # a server ends connections that nobody has used for longer
CLONE_NEWNET = 0x40000000
RESOURCES = {"Namespace": "namespaces", "Node": "nodes", "Service": "services",
             "EndpointSlice": "endpointslices"}


def path_of(value):
    """Where objects of this kind are."""
    version, metadata = value["apiVersion"], value["metadata"]
    path = f"/apis/{version}/" if "/" in version else f"/api/{version}/"
    if "namespace" in metadata:
        path += f"namespaces/{metadata['namespace']}/"
    return path + RESOURCES[value["kind"]]


class Api:
    """Some connections as an administrator, a thread each. Thread: any, but one at a time."""

    def __init__(self, netns, url, pki):
        self.netns = netns
        self.host = urllib.parse.urlparse(url)
        # Not create_default_context(), which from Python 3.13 on wants more of a certificate than
        # those of tests have.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(os.path.join(pki, "ca.crt"))
        self.context.load_cert_chain(os.path.join(pki, "admin.crt"),
                                     os.path.join(pki, "admin.key"))
        self.local = threading.local()
        self.used = 0.0
        self.pool = concurrent.futures.ThreadPoolExecutor(CONNECTIONS, initializer=self.connect)

    def connect(self):
        """Of each thread: into the server's namespace, for all that it connects to."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(self.netns, "rb") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {self.netns}")
        self.local.connection = http.client.HTTPSConnection(
            self.host.hostname, self.host.port, timeout=60, context=self.context)

    def close(self):
        self.pool.shutdown(cancel_futures=True)

    def ask(self, request):
        """One request, (method, path, body); once more if the connection had ended meanwhile."""
        method, path, body = request
        connection = self.local.connection
        for last in (False, True):
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if last:
                    raise Failure(f"{method} {path}: {error!r}") from error
        if answer.status == 409 and method == "POST" and last:
            return  # made by the first of the two, whose answer was lost
        if answer.status >= 300:
            raise Failure(f"the API server refuses {method} {path}: {answer.status} "
                          f"{message_of(text)}")

    def ask_all(self, requests):
        """Returns when all are answered, in no order."""
        try:
            for _ in self.pool.map(self.ask, requests):
                pass
        except concurrent.futures.BrokenExecutor as error:
            raise Failure(f"no thread gets into the server's namespace, {self.netns}") from error
        self.used = time.monotonic()

    def wake(self):
        """All connections are open when this returns, so that what comes next waits for none."""
        if time.monotonic() - self.used < IDLE_SECONDS:
            return
        together = threading.Barrier(CONNECTIONS)  # none asks twice, so all do

        def ask(request):
            together.wait(IDLE_SECONDS)
            self.ask(request)

        for _ in self.pool.map(ask, [("GET", "/version", None)] * CONNECTIONS):
            pass
        self.used = time.monotonic()

    def create(self, values):
        """One kind after the other, as one may need the other."""
        kinds = dict.fromkeys(value["kind"] for value in values)
        for kind in kinds:
            self.ask_all([("POST", path_of(value), json.dumps(value)) for value in values
                          if value["kind"] == kind])


def replacement(value):
    """The request that puts this object in the place of what it was."""
    return "PUT", f"{path_of(value)}/{value['metadata']['name']}", json.dumps(value)


def message_of(text):
    """The reason in words, of what a server says to a request that it refuses."""
    try:
        return json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return text[-400:].decode(errors="replace")
