"""A node with a stopwatch on it."""

import json
import pathlib
import subprocess

from nodes import ENVIRONMENT
from places import LabError

STOPWATCH = (pathlib.Path(__file__).resolve().parent / "stopwatch.py").read_text()


class Station:
    """`prefix` is the command that runs another one on the node."""

    def __init__(self, prefix):
        command = [*prefix, "python3", "-u", "-c", STOPWATCH]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)

    def order(self, do, **what):
        self.process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the stopwatch on the node has ended"}
        if "error" in answer:
            raise LabError(answer["error"])
        return answer

    def run(self, *command):
        """What the command printed."""
        return self.order("run", command=[str(word) for word in command])["output"]

    def time(self, *command):
        return self.order("run", command=[str(word) for word in command])["seconds"]
