"""A small web server for the tests of downloads: it serves bytes, with ranges, and misbehaves on demand."""

import http.server
import signal
import threading
import time


class Mirror(http.server.ThreadingHTTPServer):
    """Serves `files`; `faults` is a list of what goes wrong at each request in turn: (kind, number) or None."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.seen, self.ranges = files, [], [], True
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, name = self.server, self.path.rsplit("/", 1)[-1]
        server.seen.append((name, self.headers.get("Range")))
        kind, number = (server.faults.pop(0) if server.faults else None) or ("fine", 0)
        if kind == "status":
            return self.send_error(number)
        if kind == "slow":
            time.sleep(number)
        body, start = server.files[name], 0
        if self.headers.get("Range") and server.ranges:
            start = int(self.headers["Range"][len("bytes=") :].split("-")[0])
            if start >= len(body):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "corrupt":
            body = body[:number] + bytes([body[number] ^ 255]) + body[number + 1 :]
        if kind in ("cut", "stall", "interrupt"):
            self.wfile.write(body[:number])
            self.wfile.flush()
            if kind == "interrupt":
                time.sleep(1.0)  # until the client has taken what was sent
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            if kind != "cut":
                time.sleep(1.5)
            self.connection.close()
            return None
        return self.wfile.write(body)
