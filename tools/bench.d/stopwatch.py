"""Runs on a node, so that what is timed is not the way there: takes orders line by line on its input and answers with seconds.

Its text is given to the node's Python on the command line, so it has to do with the standard library and with one file.
"""

import concurrent.futures
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("plugin", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def finish(command, seconds=300):
    """Runs a command to its end: seconds, and what it printed."""
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    took = time.monotonic() - began
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
    return took, done.stdout.strip()


def run(order):
    took, output = finish(order["command"])
    return {"seconds": took, "output": output}


def together(order):
    """All commands at once; the time until the last one is through, and the texts of those that failed."""
    commands = order["commands"]
    failures = []

    def one(command):
        try:
            finish(command)
        except RuntimeError as error:
            failures.append(str(error))

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
        list(pool.map(one, commands))
    return {"seconds": time.monotonic() - began, "failures": failures}


def until_line(order):
    """The time until a command that goes on has printed its first line."""
    began = time.monotonic()
    process = subprocess.Popen(order["command"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    took = time.monotonic() - began
    if not line:
        raise RuntimeError(f"{' '.join(order['command'])}: {process.communicate(timeout=60)[1].strip()[-500:]}")
    process.communicate(timeout=60)
    return {"seconds": took, "output": line.strip()}


connections = {}


def call(order):
    """One request over a connection that is kept, as an engine keeps it."""
    address = order["address"]
    if address not in connections:
        host = address.removeprefix("http://")
        connections[address] = UnixConnection(address) if address.startswith("/") else http.client.HTTPConnection(host, timeout=120)
    connection = connections[address]
    body = order["text"] or ""
    headers = {"Content-Type": "application/json", **order["headers"]}
    began = time.monotonic()
    try:
        connection.request(order["method"], order["path"], body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException):
        # It would refuse every further request.
        del connections[address]
        raise
    took = time.monotonic() - began
    given = {name.lower(): value for name, value in answer.getheaders()}
    return {"seconds": took, "status": answer.status, "text": text, "headers": given}


def load(order):
    """Requests from several workers, each over a connection of its own; how many a second, and the answers if they are wanted."""
    host, headers = order["address"].removeprefix("http://"), {"Content-Type": "application/json", **order["headers"]}

    def work(requests):
        connection = http.client.HTTPConnection(host, timeout=120)
        texts = []
        for method, path, body in requests:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
            texts.append(text)
        return texts

    shares = [order["requests"][start :: order["workers"]] for start in range(order["workers"])]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(order["workers"]) as pool:
        answers = [text for texts in pool.map(work, shares) for text in texts]
    took = time.monotonic() - began
    return {"seconds": took, "rate": len(order["requests"]) / took, "texts": answers if order.get("texts") else []}


processes = {}


def spawn(order):
    """Starts a daemon; the time until it writes a line with the text `until` to its log."""
    began = time.monotonic()
    process = subprocess.Popen(
        order["command"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **order["env"]}
    )
    log = ""
    while order["until"] not in log:
        line = process.stderr.readline()
        if not line:
            raise RuntimeError(f"{' '.join(order['command'])} has ended: {log[-500:]}")
        log += line
    took = time.monotonic() - began
    # A pipe that nobody reads would stop the daemon one day.
    threading.Thread(target=process.stderr.read, daemon=True).start()
    processes[process.pid] = process
    return {"seconds": took, "pid": process.pid}


def end(order):
    """SIGTERM, and the time until the daemon is gone."""
    process = processes.pop(order["pid"])
    began = time.monotonic()
    process.terminate()
    process.wait(120)
    # Nobody is at their other end any more.
    connections.clear()
    return {"seconds": time.monotonic() - began}


ORDERS = {"spawn": spawn, "end": end, "run": run, "together": together, "until_line": until_line, "call": call, "load": load}

for line in sys.stdin:
    order = json.loads(line)
    try:
        answer = ORDERS[order["do"]](order)
    except Exception as error:  # whatever it is, who gave the order has to hear of it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
