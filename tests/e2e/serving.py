"""Starts `penstock serve` for a test and talks to it. Standard library only. SPDX-License-Identifier: Apache-2.0"""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# What is measured of pipelines is kept here for as long as the tests run, and not in the user's own cache.
CACHE = tempfile.TemporaryDirectory(prefix="penstock-e2e-")
ENVIRONMENT = {**os.environ, "XDG_CACHE_HOME": CACHE.name}


class Server:
    """A running server; a context manager that ends it."""

    def __init__(self, model, *flags, binary=ROOT / "build/penstock", ready_s=120, launcher=()):
        """launcher: words before the program's, such as mpirun's."""
        self.port = free_port()
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.process = subprocess.Popen(
            [*map(str, launcher), str(binary), "serve", str(model), "--host", "127.0.0.1", "--port", str(self.port), *map(str, flags)],
            stdout=self.log, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        deadline = time.monotonic() + ready_s
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("the server did not start:\n" + self.log_text()[-3000:])
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def is_ready(self):
        try:
            return self.request("GET", "/health")[0] == 200
        except OSError:
            return False

    def log_text(self):
        return pathlib.Path(self.log.name).read_text()

    def ask_to_end(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        if self.process.poll() is None:
            self.ask_to_end()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def connect(self, timeout=120):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, text)"""
        connection = self.connect()
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()

    def post(self, path, body):
        """The parsed answer; the status must be 200."""
        status, _, text = self.request("POST", path, body)
        if status != 200:
            raise AssertionError(f"{path}: {status} {text}")
        return json.loads(text)

    def stream(self, path, body):
        """The parsed events of a streaming request, and whether [DONE] came last."""
        connection = self.connect()
        connection.request("POST", path, json.dumps({**body, "stream": True}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        lines = [line for line in response.read().decode().split("\n") if line.startswith("data: ")]
        connection.close()
        if response.status != 200:
            raise AssertionError(f"{path}: {response.status} {lines}")
        done = bool(lines) and lines[-1] == "data: [DONE]"
        return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"], done

    def metric(self, name):
        """The sum of a metric over its labels."""
        total = 0.0
        for line in self.request("GET", "/metrics")[2].splitlines():
            if line.split("{")[0].split(" ")[0] == name:
                total += float(line.rsplit(" ", 1)[1])
        return total

    def wait_for(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
