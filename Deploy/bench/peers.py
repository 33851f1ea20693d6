"""martinet proxy between programs of others: `make peers-proxy`.

Upstreams are nginx, haproxy, a gRPC server of grpcio and plain sockets; clients are curl, wrk, h2load, grpcio and plain
sockets. What is looked at: that every answer is right, that memory does not depend on how long a body is, what idle
connections cost, that slow and half-closed connections are treated as they should be, and that several workers share
the work. It ends with 1 if something did not hold.
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import grpc

from proxy import BUILT, Processes, resident

HOST = "127.8.0.1"
PLAIN, TLS, STREAM, ADMIN, NGINX, NGINX_H2, HAPROXY, GRPC, SINK, TALKER = (18800 + number for number in range(10))
GIGABYTE = 1 << 30
# Kilobytes that a proxy may grow by while a body of any length goes through it.
ROOM = 16 << 10
SERVICE = "peers.Streams"


# MARK: What the proxy is told


def bootstrap(work):
    typed = "type.googleapis.com/envoy.extensions"

    def address(port):
        return {"socket_address": {"address": HOST, "port_value": port}}

    def cluster(name, port, http2=False):
        made = {
            "name": name, "type": "STATIC", "connect_timeout": "2s",
            "circuit_breakers": {"thresholds": [
                {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}]},
            "load_assignment": {"cluster_name": name, "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]},
        }
        if http2:
            made["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{typed}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
        return made

    log = {"name": "envoy.access_loggers.file", "typed_config": {
        "@type": f"{typed}.access_loggers.file.v3.FileAccessLog", "path": f"{work}/access.log"}}

    def route(prefix, name, **more):
        return {"match": {"prefix": prefix}, "route": {"cluster": name, "timeout": "0s", **more}}

    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": f"{typed}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front", "access_log": [log], "request_headers_timeout": "3s", "stream_idle_timeout": "5s",
        "common_http_protocol_options": {"idle_timeout": "600s"},
        "route_config": {"name": "front", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            route(f"/{SERVICE}/", "grpc"), route("/nginx/", "nginx", prefix_rewrite="/"),
            route("/nginx-h2/", "nginx-h2", prefix_rewrite="/"), route("/haproxy/", "haproxy", prefix_rewrite="/"),
            route("/upload", "sink")]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": f"{typed}.filters.http.router.v3.Router"}}]}}
    secured = {"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": f"{typed}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [{
            "certificate_chain": {"filename": f"{work}/server.pem"},
            "private_key": {"filename": f"{work}/server.key"}}]}}}
    pipe = {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": f"{typed}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "pipe", "cluster": "talker"}}
    document = {
        "node": {"id": "peers", "cluster": "peers"},
        "admin": {"address": address(ADMIN)},
        "static_resources": {
            "listeners": [
                {"name": "plain", "address": address(PLAIN), "filter_chains": [{"filters": [manager]}]},
                {"name": "tls", "address": address(TLS), "filter_chains": [
                    {"filters": [manager], "transport_socket": secured}]},
                {"name": "stream", "address": address(STREAM), "filter_chains": [{"filters": [pipe]}]}],
            "clusters": [
                cluster("nginx", NGINX), cluster("nginx-h2", NGINX_H2, True), cluster("haproxy", HAPROXY),
                cluster("grpc", GRPC, True), cluster("sink", SINK), cluster("talker", TALKER)]},
    }
    path = work / "proxy.yaml"
    path.write_text(json.dumps(document))
    return path


def certificate(work):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
         "server.key", "-out", "server.pem", "-days", "2", "-subj", "/O=peers", "-addext",
         f"subjectAltName=DNS:localhost,IP:{HOST}"], check=True, capture_output=True, cwd=work)


def nginx(work):
    (work / "pages").mkdir()
    (work / "pages/small").write_text("small\n")
    with open(work / "pages/large", "wb") as large:
        large.truncate(GIGABYTE)
    path = work / "nginx.conf"
    serving = f"""root {work}/pages; default_type application/octet-stream; location / {{ }}
        location /echo {{ add_header x-method $request_method; return 200 "$request_uri\\n"; }}
        location /moved {{ return 301 /small; }}"""
    path.write_text(f"""
{"user root;" if os.geteuid() == 0 else ""} worker_processes 1; daemon off; pid {work}/nginx.pid; error_log {work}/nginx.err;
events {{ worker_connections 15000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; sendfile on; gzip on; gzip_types *;
  client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u;
  scgi_temp_path {work}/s;
  server {{ listen {HOST}:{NGINX}; {serving} }}
  server {{ listen {HOST}:{NGINX_H2} http2; {serving} }}
}}
""")
    return path


def haproxy(work):
    path = work / "haproxy.cfg"
    path.write_text(f"""
global
  nbthread 1
  maxconn 5000
defaults
  mode http
  timeout connect 2s
  timeout client 1h
  timeout server 1h
frontend front
  bind {HOST}:{HAPROXY}
  http-response set-header x-by haproxy
  default_backend up
backend up
  http-reuse always
  server one {HOST}:{NGINX}
""")
    return path


# MARK: Upstreams of this process


def serve(port, answer):
    """Answers each connection in a thread of its own."""
    listening = socket.create_server((HOST, port), backlog=4096)

    def accept():
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def sink(connection):
    """An HTTP/1.1 server that counts what it is sent; knows a length and chunks as big as they come."""
    buffer = bytearray(1 << 20)
    with connection, connection.makefile("rb", buffering=1 << 20) as stream:
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = stream.readline()
                if not line:
                    return
                head += line
            count, fields = 0, head.lower()
            if b"expect: 100-continue" in fields:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

            def skip(size):
                while size > 0:
                    got = stream.readinto(memoryview(buffer)[:min(size, len(buffer))])
                    if not got:
                        raise EOFError
                    size -= got

            try:
                if length := re.search(rb"content-length: (\d+)", fields):
                    count = int(length[1])
                    skip(count)
                elif b"transfer-encoding: chunked" in fields:
                    while size := int(stream.readline(), 16):
                        skip(size + 2)
                        count += size
                    stream.readline()
            except (EOFError, ValueError, OSError):
                return
            body = f"{count}\n".encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def talker(connection):
    """Does what the first line says."""
    with connection, connection.makefile("rb", buffering=1 << 20) as stream:
        word, _, number = stream.readline().decode().strip().partition(" ")
        if word == "send":
            chunk = bytes(1 << 20)
            for _ in range(int(number) >> 20):
                connection.sendall(chunk)
        elif word == "count":
            # Until the end of the client's half; only then is there an answer.
            count, buffer = 0, bytearray(1 << 20)
            while got := stream.readinto(buffer):
                count += got
            connection.sendall(f"{count}\n".encode())
        elif word == "end":
            # This half ends first; what the client says goes on.
            connection.shutdown(socket.SHUT_WR)
            Streams.heard.append(len(stream.read()))


class Streams(grpc.GenericRpcHandler):
    """Unary and all kinds of streams, of plain bytes."""
    heard = []
    cancelled = threading.Event()

    def service(self, details):
        unary, down = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        up, both = grpc.stream_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        kinds = {
            "Unary": unary(self.unary), "Down": down(self.down), "Up": up(self.up), "Both": both(self.both),
            "Fail": unary(self.fail), "Wait": unary(self.wait), "Break": down(self.break_off),
        }
        return kinds.get(details.method.rpartition("/")[2])

    def unary(self, request, call):
        given = dict(call.invocation_metadata())
        call.set_trailing_metadata((("x-after", given.get("x-before", "")), ("x-data-bin", b"\0\1\2")))
        return request

    def down(self, request, call):
        for number in range(int(request)):
            yield b"%d" % number

    def up(self, requests, call):
        return b"%d" % sum(len(request) for request in requests)

    def both(self, requests, call):
        yield from requests

    def fail(self, request, call):
        call.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: ünd %")

    def wait(self, request, call):
        call.add_callback(self.cancelled.set)
        time.sleep(3)
        return b""

    def break_off(self, request, call):
        yield b"one"
        call.abort(grpc.StatusCode.DATA_LOSS, "in the middle")


# MARK: The proof


class Peers:
    def __init__(self, work, arguments):
        self.work, self.arguments = work, arguments
        self.processes = Processes(work)
        self.missed, self.child = [], None

    def hold(self, held, what):
        print(f"  {'✔' if held else '✘'} {what}", flush=True)
        if not held:
            self.missed.append(what)

    def start_proxy(self, workers=1):
        if self.child:
            self.processes.stop(self.child)
        # Through no other program, whose environment and limits would count.
        self.child = self.processes.start(
            f"proxy-{workers}", "0,1", BUILT / "martinet", "proxy", "--bootstrap", self.work / "proxy.yaml",
            "--concurrency", workers, "--drain-time", "1s", "--log-level", "warning")
        for _ in range(300):
            try:
                socket.create_connection((HOST, PLAIN), 1).close()
                return
            except OSError:
                if self.child.poll() is not None:
                    break
                time.sleep(0.05)
        raise SystemExit("the proxy does not begin: " + (self.work / f"proxy-{workers}.log").read_text()[-2000:])

    def curl(self, *arguments, limit=50):
        done = subprocess.run(
            ["curl", "-sS", "--max-time", str(limit), "--cacert", self.work / "server.pem",
             *map(str, arguments)], capture_output=True, timeout=limit + 10)
        return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")

    def ways(self):
        """How a client may speak: title, arguments of curl, where."""
        return [
            ("HTTP/1.1", ["--http1.1"], f"http://{HOST}:{PLAIN}"),
            ("HTTP/2", ["--http2-prior-knowledge"], f"http://{HOST}:{PLAIN}"),
            ("TLS, HTTP/1.1", ["--http1.1"], f"https://{HOST}:{TLS}"),
            ("TLS, HTTP/2", ["--http2"], f"https://{HOST}:{TLS}"),
        ]

    # MARK: Parts

    def answers(self):
        print("answers: curl to nginx and haproxy")
        for title, how, where in self.ways():
            wrong = []
            for up in ("nginx", "nginx-h2", "haproxy"):
                def ask(path, *more):
                    return self.curl(*how, *more, f"{where}/{up}/{path}")

                cases = [
                    ("GET", ask("small") == "small\n"),
                    ("query", ask("echo?a=b%20c") == "/echo?a=b%20c\n"),
                    ("HEAD", "content-length: 6" in ask("small", "-I").lower()),
                    ("404", ask("none", "-o", "/dev/null", "-w", "%{http_code}") == "404"),
                    ("301", ask("moved", "-o", "/dev/null", "-w", "%{http_code}") == "301"),
                    ("range", ask("small", "-r", "1-3") == "mal"),
                    ("gzip", ask("small", "--compressed") == "small\n"),
                    ("method", "x-method: DELETE" in ask("echo", "-i", "-X", "DELETE")
                     .replace("X-Method", "x-method")),
                ]
                # curl 7.88 fails with itself on HTTP/2 without TLS, whoever serves.
                if title != "HTTP/2":
                    cases.append(("two on one connection", ask("small", f"{where}/{up}/small") == "small\nsmall\n"))
                wrong += [f"{up} {name}" for name, held in cases if not held]
            wrong += [] if "haproxy" in self.curl(*how, "-i", f"{where}/haproxy/small") else ["header of haproxy"]
            for size in (0, 5, 100_000, 3_000_000):
                (self.work / "body").write_bytes(b"x" * size)
                for form in ([], ["-H", "transfer-encoding: chunked"], ["-H", "expect: 100-continue"]):
                    # Of nothing curl 7.88 sends no last chunk.
                    if size == 0 and form and "chunked" in form[1]:
                        continue
                    told = self.curl(*how, "-X", "POST", "-T", self.work / "body", *form, f"{where}/upload")
                    if told != f"{size}\n":
                        wrong.append(f"upload of {size} {form}: {told[:100]!r}")
            self.hold(not wrong, f"{title}: {'all as they should be' if not wrong else wrong}")

    def load(self):
        print("load: wrk and h2load, 5 seconds each")
        tool = ["h2load", "-D", "5", "--warm-up-time", "0"]
        runs = [
            ("wrk, HTTP/1.1 to nginx", ["wrk", "-t", "1", "-c", "64", "-d", "5s", f"http://{HOST}:{PLAIN}/nginx/echo"]),
            ("wrk, TLS, HTTP/1.1 to haproxy",
             ["wrk", "-t", "1", "-c", "32", "-d", "5s", f"https://{HOST}:{TLS}/haproxy/echo"]),
            ("h2load, HTTP/1.1 to HTTP/2",
             [*tool, "--h1", "-c", "32", f"http://{HOST}:{PLAIN}/nginx-h2/echo"]),
            ("h2load, HTTP/2 to HTTP/1.1", [*tool, "-c", "8", "-m", "32", f"http://{HOST}:{PLAIN}/nginx/echo"]),
            ("h2load, TLS, HTTP/2 to HTTP/2",
             [*tool, "-c", "8", "-m", "32", f"https://{HOST}:{TLS}/nginx-h2/echo"]),
        ]
        for title, command in runs:
            words = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
            if command[0] == "wrk":
                count = int(re.search(r"(\d+) requests in", words)[1])
                bad = [int(number) for number in re.findall(
                    r"Non-2xx or 3xx responses: (\d+)|connect (\d+), read (\d+), write (\d+), timeout (\d+)", words)
                    for number in number if number]
                failed = sum(bad)
            else:
                found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", words)
                count, failed = int(found[1]), int(found[2]) + int(found[3])
                codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", words)
                failed += sum(int(codes[number]) for number in (2, 3, 4))
            self.hold(count > 0 and failed == 0, f"{title}: {count} requests, {failed} failed")

    def grpc(self):
        print("gRPC: grpcio to grpcio")
        credentials = grpc.ssl_channel_credentials((self.work / "server.pem").read_bytes())
        for title, channel in (
            ("plaintext", grpc.insecure_channel(f"{HOST}:{PLAIN}")),
            ("TLS", grpc.secure_channel(f"{HOST}:{TLS}", credentials)),
        ):
            with channel:
                self.calls(title, channel)

    def calls(self, title, channel):
        def method(kind, name):
            return getattr(channel, kind)(f"/{SERVICE}/{name}")

        unary = method("unary_unary", "Unary")
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            right = sum(pool.map(lambda number: unary(b"%d" % number, timeout=20) == b"%d" % number, range(1000)))
        self.hold(right == 1000, f"{title}: {right} of 1000 unary calls right, {time.monotonic() - start:.1f} s")
        answer, call = unary.with_call(b"x", metadata=(("x-before", "here"),), timeout=10)
        trailers = dict(call.trailing_metadata())
        self.hold(trailers.get("x-after") == "here" and trailers.get("x-data-bin") == b"\0\1\2", f"{title}: trailers")
        large = bytes(3 << 20)
        self.hold(unary(large, timeout=20) == large, f"{title}: a message of 3 MB there and back")
        got = list(method("unary_stream", "Down")(b"1000", timeout=20))
        self.hold(got == [b"%d" % number for number in range(1000)], f"{title}: a stream of 1000 answers")
        total = method("stream_unary", "Up")((bytes(1024) for _ in range(1000)), timeout=20)
        self.hold(total == b"1024000", f"{title}: a stream of 1000 requests")
        both = method("stream_stream", "Both")
        asked, turns = threading.Semaphore(1), 0

        def pings():
            for number in range(500):
                asked.acquire()
                yield b"%d" % number

        for got in both(pings(), timeout=30):
            turns += got == b"%d" % turns
            asked.release()
        self.hold(turns == 500, f"{title}: 500 turns of a stream both ways, each after the one before")

        def status(act):
            try:
                act()
            except grpc.RpcError as error:
                return error.code(), error.details()
            return grpc.StatusCode.OK, ""

        self.hold(
            status(lambda: method("unary_unary", "Fail")(b"", timeout=10))
            == (grpc.StatusCode.FAILED_PRECONDITION, "no: ünd %"), f"{title}: an error with its words")
        self.hold(
            status(lambda: list(method("unary_stream", "Break")(b"", timeout=10)))
            == (grpc.StatusCode.DATA_LOSS, "in the middle"), f"{title}: an error after an answer")
        Streams.cancelled.clear()
        code, _ = status(lambda: method("unary_unary", "Wait")(b"", timeout=0.3))
        self.hold(
            code == grpc.StatusCode.DEADLINE_EXCEEDED and Streams.cancelled.wait(2.5),
            f"{title}: a deadline ends the call at the server too")

    def bodies(self):
        print("bodies of 1 GB")
        large = self.work / "pages/large"
        runs = []
        for title, how, where in self.ways():
            runs.append((f"{title}, down", lambda how=how, where=where: self.curl(
                *how, "-o", "/dev/null", "-w", "%{size_download}", f"{where}/nginx/large")))
            runs.append((f"{title}, up", lambda how=how, where=where: self.curl(
                *how, "-X", "POST", "-T", large, f"{where}/upload")))
        runs.append(("HTTP/1.1 from HTTP/2, down", lambda: self.curl(
            "-o", "/dev/null", "-w", "%{size_download}", f"http://{HOST}:{PLAIN}/nginx-h2/large")))
        runs.append(("TCP, down", lambda: str(self.pipe(b"send %d\n" % GIGABYTE, 0)[0])))
        runs.append(("TCP, up", lambda: self.pipe(b"count\n", GIGABYTE)[1].decode()))
        for title, act in runs:
            start = time.monotonic()
            with Sampler(self.child.pid) as sampler:
                told = act().strip()
            took = time.monotonic() - start
            held = told == str(GIGABYTE)
            self.hold(
                held and sampler.growth <= ROOM,
                f"{title}: {'whole' if held else f'NOT whole ({told[:200]!r})'}, {GIGABYTE / took / 1e6:.0f} MB/s, memory "
                f"{sampler.before / 1024:.1f} MB before, {sampler.most / 1024:.1f} MB at most")

    def pipe(self, order, count):
        """Over the TCP listener: sends `count` bytes after the order and ends its half."""
        with socket.create_connection((HOST, STREAM), 20) as connection:
            connection.sendall(order)
            chunk = bytes(1 << 20)
            for _ in range(count >> 20):
                connection.sendall(chunk)
            connection.shutdown(socket.SHUT_WR)
            total, last, buffer = 0, b"", bytearray(1 << 20)
            while got := connection.recv_into(buffer):
                total, last = total + got, bytes(buffer[:min(got, 64)])
        return total, last

    def half_closed(self):
        print("half-closed connections")
        self.hold(self.pipe(b"count\n", 3 << 20)[1] == b"3145728\n", "TCP: an answer after the client's half has ended")
        with socket.create_connection((HOST, STREAM), 5) as connection:
            connection.sendall(b"end\n")
            ended = connection.recv(1) == b""
            connection.sendall(b"x" * 1000)
        for _ in range(50):
            if Streams.heard:
                break
            time.sleep(0.05)
        self.hold(ended and Streams.heard == [1000], "TCP: a client goes on after the server's half has ended")
        with socket.create_connection((HOST, PLAIN), 5) as connection:
            connection.sendall(b"GET /nginx/small HTTP/1.1\r\nhost: a\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(4096):
                answer += part
        # As with Envoy: it may be the end of both halves, and what it asked for is work for nobody.
        self.hold(answer == b"", "HTTP/1.1: a client whose half has ended has gone, and its connection with it")
        with socket.create_connection((HOST, PLAIN), 5) as connection:
            connection.sendall(b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(4096):
                answer += part
        self.hold(not answer.startswith(b"HTTP/1.1 2"), f"HTTP/1.1: half a body is no request ({answer[:20]!r})")

    def slow(self):
        print("slow clients: 200 heads of a byte a second, 50 bodies that stop, 50 readers that stop")
        heads = [socket.create_connection((HOST, PLAIN), 5) for _ in range(200)]
        for connection in heads:
            connection.sendall(b"GET /nginx/small HTTP/1.1\r\nhost: a\r\nx-slow: ")
        bodies = [socket.create_connection((HOST, PLAIN), 5) for _ in range(50)]
        for connection in bodies:
            connection.sendall(b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc")
        readers = []
        with Sampler(self.child.pid) as sampler:
            for _ in range(50):
                connection = socket.socket()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect((HOST, PLAIN))
                connection.sendall(b"GET /nginx/large HTTP/1.1\r\nhost: a\r\n\r\n")
                readers.append(connection)
            start, ends = time.monotonic(), {}
            rounds, meanwhile, slowest = 0, 0, 0.0
            while time.monotonic() - start < 15 and len(ends) < len(heads) + len(bodies):
                for connection in heads:
                    if connection not in ends:
                        try:
                            connection.sendall(b"x")
                        except OSError:
                            pass
                rounds += 1
                asked = time.monotonic()
                meanwhile += self.curl(f"http://{HOST}:{PLAIN}/nginx/small", limit=5) == "small\n"
                slowest = max(slowest, time.monotonic() - asked)
                # A select has no room for so many.
                poll = select.poll()
                by_number = {}
                for connection in heads + bodies:
                    if connection not in ends:
                        poll.register(connection, select.POLLIN)
                        by_number[connection.fileno()] = connection
                until = time.monotonic() + 1
                while (left := until - time.monotonic()) > 0:
                    for number, _ in poll.poll(left * 1000):
                        connection = by_number[number]
                        try:
                            text = connection.recv(4096)
                        except OSError:
                            text = b""
                        ends[connection] = (time.monotonic() - start, text[:12])
                        poll.unregister(number)
        times = [ends[connection][0] for connection in heads if connection in ends]
        self.hold(len(times) == 200, f"{len(times)} of 200 slow heads ended, the last after "
                  f"{max(times, default=0):.1f} s (request_headers_timeout 3 s): {ends.get(heads[0], (0, b''))[1]!r}")
        times = [ends[connection][0] for connection in bodies if connection in ends]
        self.hold(len(times) == 50, f"{len(times)} of 50 stopped bodies ended, the last after "
                  f"{max(times, default=0):.1f} s (stream_idle_timeout 5 s): {ends.get(bodies[0], (0, b''))[1]!r}")
        self.hold(meanwhile == rounds, f"{meanwhile} of {rounds} other requests served meanwhile, the slowest in {slowest * 1000:.0f} ms")
        self.hold(
            sampler.growth <= 50 * 512, f"readers that stop: {sampler.growth / 50:.0f} KB of memory each, at most 512")
        left = self.stat("http.front.downstream_rq_active")
        for _ in range(40):
            if left == 0:
                break
            time.sleep(0.25)
            left = self.stat("http.front.downstream_rq_active")
        self.hold(left == 0, f"{left} requests are left when the readers' time is over")
        for connection in heads + bodies + readers:
            connection.close()

    def stat(self, name):
        connection = http.client.HTTPConnection(HOST, ADMIN, timeout=5)
        connection.request("GET", f"/stats?filter=^{name}$")
        found = re.search(r": (\d+)", connection.getresponse().read().decode())
        connection.close()
        return int(found[1]) if found else None

    def idle(self):
        count = self.arguments.connections
        print(f"{count} idle connections")
        trusting = ssl.create_default_context(cafile=str(self.work / "server.pem"))

        def plain(asks):
            connection = socket.create_connection((HOST, PLAIN), 10)
            return ask(connection) if asks else connection

        def secured(asks):
            connection = trusting.wrap_socket(socket.create_connection((HOST, TLS), 10), server_hostname="localhost")
            return ask(connection) if asks else connection

        def ask(connection):
            connection.sendall(b"GET /nginx/small HTTP/1.1\r\nhost: a\r\n\r\n")
            text = b""
            while not text.endswith(b"small\n"):
                text += connection.recv(4096)
            return connection

        for title, make, asks, bar in (
            ("plaintext, nothing asked", plain, False, 2), ("plaintext, asked once", plain, True, 2),
            ("TLS, nothing asked", secured, False, 20), ("TLS, asked once", secured, True, 20),
        ):
            self.start_proxy()
            # What the first connections make is not theirs.
            for connection in [make(asks) for _ in range(20)]:
                connection.close()
            time.sleep(0.5)
            before, start = resident(self.child.pid), time.monotonic()
            held = [make(asks) for _ in range(count)]
            took = time.monotonic() - start
            time.sleep(1)
            each = (resident(self.child.pid) - before) / count
            good = self.curl(f"http://{HOST}:{PLAIN}/nginx/small") == "small\n"
            for connection in held:
                connection.close()
            del held
            time.sleep(1)
            after = (resident(self.child.pid) - before) / count
            self.hold(
                each <= bar and good,
                f"{title}: {each:.2f} KB of memory each, at most {bar} ({took:.0f} s to connect; {after:.2f} KB each "
                "when they are gone)")

    def workers(self):
        print("two workers")
        self.start_proxy(2)
        before = self.processor_times()
        words = subprocess.run(
            ["h2load", "-D", "5", "--h1", "-c", "64", f"http://{HOST}:{PLAIN}/nginx/echo"], capture_output=True,
            text=True, timeout=60).stdout
        found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", words)
        spent = {name: after - before.get(name, 0) for name, after in self.processor_times().items()}
        spent = {name: took for name, took in spent.items() if name.startswith("worker")}
        self.hold(
            int(found[1]) > 0 and found[2] == found[3] == "0" and len(spent) == 2
            and min(spent.values()) > 0.2 * max(spent.values()),
            f"{found[0]}; processor time {', '.join(f'{name}: {took:.1f} s' for name, took in spent.items())}")
        with grpc.insecure_channel(f"{HOST}:{PLAIN}") as channel:
            self.calls("two workers", channel)

    def processor_times(self):
        found = {}
        for task in pathlib.Path(f"/proc/{self.child.pid}/task").iterdir():
            name = (task / "comm").read_text().strip()
            found[f"{name}"] = found.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1e9
        return found

    def run(self):
        certificate(self.work)
        bootstrap(self.work)
        self.processes.start("nginx", "0,1", "nginx", "-p", self.work, "-c", nginx(self.work))
        self.processes.start("haproxy", "0,1", "haproxy", "-f", haproxy(self.work))
        serve(SINK, sink)
        serve(TALKER, talker)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((Streams(),))
        server.add_insecure_port(f"{HOST}:{GRPC}")
        server.start()
        self.start_proxy()
        for part in (
            self.answers, self.load, self.grpc, self.half_closed, self.slow, self.bodies, self.idle, self.workers
        ):
            if not self.arguments.only or part.__name__ in self.arguments.only:
                part()
        if self.child.poll() is not None:
            self.hold(False, f"the proxy has ended with {self.child.returncode}")
        server.stop(0)
        print("\n" + ("All held." if not self.missed else "Missed:\n  " + "\n  ".join(self.missed)))
        return 1 if self.missed else 0


class Sampler:
    """Looks at a process's memory all the while."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        self.before = self.most = resident(self.pid)
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def look(self):
        while not self.ending.wait(0.05):
            self.most = max(self.most, resident(self.pid))

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()

    @property
    def growth(self):
        return self.most - self.before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000, help="idle ones (default: 10000)")
    parser.add_argument("--only", nargs="*", help="answers load grpc half_closed slow bodies idle workers")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="martinet-peers-") as work:
        peers = Peers(pathlib.Path(work), arguments)
        try:
            return peers.run()
        finally:
            peers.processes.end()
            sys.stdout.flush()


if __name__ == "__main__":
    code = main()
    # Threads of upstreams may still wait for a client.
    os._exit(code)
