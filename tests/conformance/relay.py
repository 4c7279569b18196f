"""Runs on a node: makes HTTP requests and runs commands there, as asked line by line on its input. See node.py.

Its text is given to the node's Python on the command line, so it has to do with the standard library and with one file.
"""

import http.client
import json
import socket
import subprocess
import sys
import threading
import urllib.parse

output = threading.Lock()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("plugin", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def http_request(asked):
    address = asked["address"]
    if address.startswith("/"):
        connection, prefix = UnixConnection(address, asked["timeout"]), ""
    else:
        url = urllib.parse.urlsplit(address)
        connection, prefix = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=asked["timeout"]), url.path.rstrip("/")
    body = asked["body"]
    connection.request(asked["method"], prefix + asked["path"], None if body is None else body.encode(), asked["headers"])
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return {"status": answer.status, "headers": {name.lower(): value for name, value in answer.getheaders()}, "body": text}


def command(asked):
    done = subprocess.run(asked["command"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=asked["timeout"])
    return {"code": done.returncode, "output": done.stdout, "errors": done.stderr}


def serve(asked):
    try:
        answer = command(asked) if "command" in asked else http_request(asked)
    except Exception as error:  # whatever it is, the suite has to hear of it
        answer = {"failed": f"{type(error).__name__}: {error}"}
    with output:
        print(json.dumps({"id": asked["id"], **answer}), flush=True)


for line in sys.stdin:
    threading.Thread(target=serve, args=(json.loads(line),), daemon=True).start()
