"""A machine under test, reached by a command prefix such as `tools/lab exec network-1`: requests and commands go through one relay there."""

import itertools
import json
import pathlib
import queue
import subprocess
import threading

RELAY = (pathlib.Path(__file__).resolve().parent / "relay.py").read_text()


class Unreachable(Exception):
    """The node, or what should answer on it, did not."""


class CommandFailed(Exception):
    """A command on the node ended with an error."""


class Answer:
    """An HTTP reply."""

    def __init__(self, status, headers, text):
        self.status = status
        self.headers = headers
        self.text = text

    def json(self):
        return json.loads(self.text) if self.text.strip() else {}


class Node:
    def __init__(self, name, prefix):
        self.name = name
        # A line for the relay may come from several threads; its answers are handed out by their ids.
        self.relay = subprocess.Popen([*prefix, "python3", "-u", "-c", RELAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ids = itertools.count()
        self.waiting = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.hand_out, daemon=True).start()

    def close(self):
        self.relay.stdin.close()
        self.relay.wait(30)

    def hand_out(self):
        for line in self.relay.stdout:
            answer = json.loads(line)
            self.waiting.pop(answer["id"]).put(answer)
        with self.lock:
            for answers in self.waiting.values():
                answers.put({"failed": "the relay on the node has ended"})

    def ask(self, seconds, **asked):
        answers = queue.Queue()
        with self.lock:
            number = next(self.ids)
            self.waiting[number] = answers
            self.relay.stdin.write(json.dumps({"id": number, "timeout": seconds, **asked}) + "\n")
            self.relay.stdin.flush()
        try:
            answer = answers.get(timeout=seconds + 10)
        except queue.Empty:
            answer = {"failed": f"no answer within {seconds + 10} s"}
        if "failed" in answer:
            raise Unreachable(f"{self.name}: {asked.get('command') or asked['method'] + ' ' + asked['path']}: {answer['failed']}")
        return answer

    def request(self, address, method, path, body=None, headers=None, seconds=120):
        """`address` is a socket's path or a URL, `body` a text."""
        answer = self.ask(seconds, address=address, method=method, path=path, body=body, headers=headers or {})
        return Answer(answer["status"], answer["headers"], answer["body"])

    def run(self, *command, seconds=60):
        answer = self.ask(seconds, command=[str(part) for part in command])
        if answer["code"] != 0:
            raise CommandFailed(f"{self.name}: {' '.join(map(str, command))}: {answer['errors'].strip() or answer['output'].strip()}")
        return answer["output"]

    def succeeds(self, *command):
        try:
            self.run(*command)
            return True
        except CommandFailed:
            return False

    def links(self):
        """The links of the node's own network namespace by name."""
        return {link["ifname"]: link for link in json.loads(self.run("ip", "-json", "-details", "link"))}

    def plugged(self):
        """Names of the links that a plugin makes for ports."""
        return {name for name in self.links() if name.startswith(("tap", "t_c", "qbr", "qvb", "qvo"))}

    def host_name(self):
        return self.run("hostname").strip()
