"""A real server of S3 in this process, and a proxy before it that makes mistakes."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR
from threading import Lock, Thread

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "natural-scenes-dataset"

REFUSALS = {"throttle": (503, "SlowDown"), "forbid": (403, "AccessDenied")}


class Proxy:
    """Hands requests on, counts the bytes of what is got, and injects faults.

    Parameters
    ----------
    port : int
        Of the server.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.lock = Lock()
        self.reset()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.proxy = self
        self.server.daemon_threads = True
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def reset(self) -> None:
        """Forget what was asked so far."""
        self.sent: dict[str, int] = {}
        # What happens to a request for a key that ends so, once.
        self.faults: list[tuple[str, str | Callable[[], None]]] = []
        # Whether all is refused.
        self.forbidden = False

    def count(self, key: str, n_bytes: int) -> None:
        """Note that bytes of a key were sent."""
        with self.lock:
            self.sent[key] = self.sent.get(key, 0) + n_bytes

    def fault_for(self, key: str) -> str | Callable[[], None]:
        """Return what is to go wrong with a request; nothing, mostly."""
        if self.forbidden:
            return "forbid"
        with self.lock:
            for number, (end, fault) in enumerate(self.faults):
                if key.endswith(end):
                    del self.faults[number]
                    return fault
        return ""


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of a proxy, which is its server's."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        # Who asks may have left.
        with suppress(ConnectionError):
            super().handle()

    def do_HEAD(self) -> None:
        if self.server.proxy.forbidden:
            self.refuse(403, "AccessDenied")
        else:
            self.answer(*self.ask())

    def do_GET(self) -> None:
        key = self.path.split("?")[0].removeprefix(f"/{BUCKET}").strip("/")
        fault = (
            "forbid"
            if self.server.proxy.forbidden
            else self.server.proxy.fault_for(key)
        )
        if callable(fault):
            fault()
        if fault in REFUSALS:
            self.refuse(*REFUSALS[fault])
            return
        status, headers, body = self.ask()
        if key:
            with self.server.proxy.lock:
                self.server.proxy.sent[key] = self.server.proxy.sent.get(key, 0) + len(
                    body
                )
        if fault == "drop":
            self.hang_up()
        elif fault == "half":
            self.answer(status, headers, body[: len(body) // 2])
            self.hang_up()
        else:
            self.answer(status, headers, body)

    def ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = HTTPConnection("127.0.0.1", self.server.proxy.port)
        headers = {k: v for k, v in self.headers.items() if k != "Connection"}
        upstream.request(self.command, self.path, headers=headers)
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        return answer.status, answer.getheaders(), body

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def refuse(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        length = [("Content-Length", str(len(body)))]
        self.answer(status, length, b"" if self.command == "HEAD" else body.encode())

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(SHUT_RDWR)


@contextmanager
def bucket_of(folder: Path) -> Iterator[Proxy]:
    """Serve a folder as a bucket."""
    # It would write to what tests capture.
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    client.create_bucket(Bucket=BUCKET, ACL="public-read")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = path.relative_to(folder).as_posix()
            body = path.read_bytes()
            client.put_object(Bucket=BUCKET, Key=key, Body=body, ACL="public-read")
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        server.stop()
