"""Nodes: machines of their own made of namespaces, joined by a wire, with services started on them.

A node is its process 1 (node-init). Ending that process ends everything on the node, and with the namespaces go links, mounts and
addresses, so `down` has little to undo.
"""

import os
import pathlib
import shlex
import signal
import subprocess
import time

from places import ADDRESS, CODE, NAME, PREFIX, RUN, LabError

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": os.environ.get("TERM", "dumb"),
}


class Failed(LabError):
    """A command on a node ended with an error."""


class Process:
    """A process of ours by its id and start time, so that a reused id is not taken for it."""

    def __init__(self, file):
        self.file = file

    def pid(self):
        """The id while the process lives, else None."""
        try:
            pid, start = self.file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if start == start_time(pid) else None

    def record(self, pid):
        self.file.write_text(f"{pid} {start_time(pid)}")

    def kill(self):
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        while self.pid() is not None:
            time.sleep(0.02)
        self.file.unlink(missing_ok=True)


def start_time(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


class Wire:
    """The underlay: a bridge in a network namespace of its own. Frames cross it unfiltered."""

    def __init__(self):
        self.process = Process(RUN / "wire.pid")

    def up(self):
        if self.process.pid() is not None:
            return
        RUN.mkdir(parents=True, exist_ok=True)
        holder = subprocess.Popen(
            ["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        own = os.readlink("/proc/self/ns/net")
        await_condition(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, "the namespace of the wire", 20)
        self.process.record(holder.pid)
        self.run("ip", "link", "add", "wire", "type", "bridge")
        self.run("sh", "-c", "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 >$f; done")
        self.run("ip", "link", "set", "wire", "up")

    def run(self, *command):
        subprocess.run(["nsenter", "--target", str(self.process.pid()), "--net", *command], check=True, stdin=subprocess.DEVNULL)

    def plug(self, node):
        """Gives the node the link eth0 and its address on the wire."""
        self.run("ip", "link", "add", node.name, "type", "veth", "peer", "name", "eth0", "netns", str(node.pid()))
        self.run("ip", "link", "set", node.name, "master", "wire", "up")
        node.run("ip", "address", "add", f"{ADDRESS[node.name]}/{PREFIX}", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")


class Node:
    def __init__(self, name):
        self.name = name
        self.address = ADDRESS[name]
        self.directory = RUN / "nodes" / name
        self.process = Process(RUN / f"{name}.pid")

    def pid(self):
        return self.process.pid()

    def up(self, wire, root, engine=None, binds=()):
        if self.pid() is not None:
            return
        remove_tree(self.directory)
        self.directory.mkdir(parents=True)
        command = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--", CODE / "node-init"]
        command += [self.name, self.directory, root, engine or "", *(f"{outside}:{inside}" for outside, inside in binds)]
        log = self.directory / "init.log"
        with open(log, "w") as output:
            unshare = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        children = pathlib.Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        await_condition(lambda: unshare.poll() is not None or children.read_text().strip(), f"process 1 of {self.name}", 60)
        if unshare.poll() is None:
            self.process.record(children.read_text().strip())
        # The overlay is the node's file system once its init has moved into it.
        await_condition(lambda: self.pid() is None or self.file("/run/lab/ready").exists(), f"node {self.name}", 60)
        if self.pid() is None:
            raise LabError(f"node {self.name} did not start: {log.read_text()}")
        hosts = "".join(f"{address} {name}\n" for name, address in ADDRESS.items())
        self.write("/etc/hosts", f"127.0.0.1 localhost\n{hosts}")
        wire.plug(self)

    def down(self):
        self.process.kill()
        remove_cgroups(self)
        remove_tree(self.directory)

    # Files

    def file(self, path):
        """A path of the node as seen from outside. Symbolic links with absolute targets would lead out of the node."""
        return pathlib.Path(f"/proc/{self.pid()}/root{path}")

    def write(self, path, text, mode=0o644):
        file = self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def install(self, source, path):
        """Copies a program of the machine to the node; a running one keeps its old file."""
        self.write(path, "", 0o755)
        self.file(path).write_bytes(pathlib.Path(source).read_bytes())

    # Commands

    def command(self, *arguments, user=None):
        if self.pid() is None:
            raise LabError(f"node {self.name} is not up; `tools/lab up` starts it")
        enter = ["nsenter", "--target", str(self.pid()), "--net", "--mount", "--uts", "--ipc", "--pid"]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        return [*enter, *become, *(str(argument) for argument in arguments)]

    def run(self, *arguments, user=None, deadline=600, environment=None):
        """Runs a command to its end and returns what it printed."""
        env = {**ENVIRONMENT, **(environment or {})}
        done = subprocess.run(
            self.command(*arguments, user=user), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, timeout=deadline
        )
        if done.returncode != 0:
            text = "\n".join(part for part in (done.stdout[-3000:].strip(), done.stderr[-3000:].strip()) if part)
            raise Failed(f"{self.name}: {shlex.join(str(a) for a in arguments)[:500]}: ended with {done.returncode}: {text}")
        return done.stdout

    def succeeds(self, *arguments):
        try:
            self.run(*arguments, deadline=60)
            return True
        except (Failed, subprocess.TimeoutExpired):
            return False

    # Services

    def launch(self, service, *command, user=None, environment=None):
        """Starts a service unless it runs; its output goes to /var/log/lab/SERVICE.log of the node."""
        if self.runs(service):
            return
        start = 'service=$1; shift; setsid "$@" </dev/null >>/var/log/lab/$service.log 2>&1 & echo $! >/run/lab/$service.pid'
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        self.run("sh", "-c", start, "launch", service, *become, *command, environment=environment)

    def runs(self, service):
        return self.succeeds("sh", "-c", f"kill -0 $(cat /run/lab/{service}.pid)")

    def stop(self, service):
        """SIGTERM, and SIGKILL when that is not enough within 30 s."""
        self.run("sh", "-c", f"""pid=$(cat /run/lab/{service}.pid 2>/dev/null) || exit 0; kill -TERM $pid 2>/dev/null || exit 0
            for i in $(seq 300); do kill -0 $pid 2>/dev/null || exit 0; sleep 0.1; done; kill -KILL $pid""")

    def await_service(self, service, seconds, *condition):
        """Until the command `condition` succeeds on the node; fails at once with the end of the log when the service is gone."""

        def ready():
            if self.succeeds(*condition):
                return True
            if not self.runs(service):
                raise LabError(f"{service} on {self.name} has ended; the end of its log:\n{self.log(service)}")
            return False

        try:
            await_condition(ready, f"{service} on {self.name} answers `{shlex.join(condition)}`", seconds)
        except TimeoutError as error:
            raise LabError(f"{error}; the end of its log:\n{self.log(service)}") from None

    def log(self, service, characters=4000):
        try:
            return self.file(f"/var/log/lab/{service}.log").read_text(errors="replace")[-characters:]
        except FileNotFoundError:
            return "(no log)"


def await_condition(condition, what, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def remove_cgroups(node):
    """Empty cgroups outlive their processes. Each node's dockerd keeps its own below one with this name."""
    found = subprocess.run(
        ["find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", f"*/{cgroup(node)}*"], capture_output=True, text=True, check=False
    ).stdout.split()
    for directory in found:
        try:
            os.rmdir(directory)
        except OSError:
            pass  # not empty: some process is still ending; the next `down` finds it


def cgroup(node):
    return f"kuryr-lab-{NAME}-{node.name}"


def remove_tree(directory):
    if directory.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)
