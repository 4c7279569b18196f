"""Stands between kuryr and its cloud and misbehaves as a file says: proxy.py PORT TARGET FILE, on the loopback of the node.

The file holds `pass`, `503` (the cloud is not asked), `hang` (neither is it, and no answer comes) or `late` (it does what it is asked, and the
answer comes when the file says something else).
"""

import http.client
import http.server
import pathlib
import sys
import time

port, target, file = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])


def until_another(mode):
    while file.read_text() == mode:
        time.sleep(0.1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        mode = file.read_text()
        if mode == "503":
            return self.answer(503, [], b"busy")
        if mode == "hang":
            until_another(mode)
            self.close_connection = True
            return None
        cloud = http.client.HTTPConnection("127.0.0.1", target)
        cloud.request(self.command, self.path, body, {name: value for name, value in self.headers.items() if name.lower() != "connection"})
        answer = cloud.getresponse()
        content = answer.read()
        cloud.close()
        if mode == "late":
            until_another(mode)
        return self.answer(answer.status, answer.getheaders(), content)

    def answer(self, status, headers, content):
        try:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = pass_on

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
