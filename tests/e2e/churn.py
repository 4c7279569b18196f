"""Containers that come and go, several at once, while something goes wrong."""

import threading

# Makes an hour pass for all in the journal of a host that the collector looks at; the daemon reads it when it starts.
AGE_JOURNAL = """
import sqlite3
journal = sqlite3.connect('/var/lib/kuryr/journal.db', timeout=10)
for kind, field in (('port', '$.created'), ('pool', '$.granted'), ('task', '$.work.Seek.since')):
    journal.execute("UPDATE record SET body = json_set(body, ?, json_extract(body, ?) - 3600) WHERE kind = ? AND json_extract(body, ?) IS NOT NULL",
                    (field, field, kind, field))
journal.commit()
"""

class Churn:
    """Starts and removes containers for as long as the block lasts, and counts. `start` and `remove` take a name and raise `failed` for a refusal."""

    def __init__(self, start, remove, failed, at_once=4):
        self.start, self.remove, self.failed = start, remove, failed
        self.started, self.refused, self.last_refusal = 0, 0, ""
        self.names = set()
        self.over, self.lock = threading.Event(), threading.Lock()
        self.workers = [threading.Thread(target=self.work, args=(number,)) for number in range(at_once)]

    def __enter__(self):
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for worker in self.workers:
            worker.join()

    def work(self, worker):
        number = 0
        while not self.over.is_set():
            number += 1
            name = f"w{worker}-{number}"
            try:
                with self.lock:
                    self.names.add(name)
                self.start(name)
                with self.lock:
                    self.started += 1
            except self.failed as refusal:
                with self.lock:
                    self.refused += 1
                    self.last_refusal = str(refusal).splitlines()[-1][-300:]
                # An engine that is down refuses at once.
                self.over.wait(0.2)
            self.try_to_remove(name)

    def try_to_remove(self, name):
        try:
            self.remove(name)
            with self.lock:
                self.names.discard(name)
        except self.failed:
            self.over.wait(0.2)

    def remove_the_rest(self):
        """What could not be removed while it went wrong; one that was never made is gone as well."""
        for name in sorted(self.names):
            self.try_to_remove(name)

    def __str__(self):
        return f"{self.started} started, {self.refused} refused"
