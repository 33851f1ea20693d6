"""What a request through the proxy costs, beside Envoy, nginx and haproxy: `make bench-proxy`.

Each proxy runs alone on one core; load and upstream share the other. The proxies take turns in every round, and the
figures are medians of the rounds; the ratios are what counts, for all of them are of the same minute.

martinet and Envoy get the same bootstrap file: a listener with a route table, RBAC, an access log and statistics.
"""
import argparse
import contextlib
import http.client
import io
import json
import os
import pathlib
import re
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "Deploy/demo"))
from bookinfo import Demo  # noqa: E402
BUILT = pathlib.Path(os.environ.get("BUILT", TOP / ".build-release/release"))
PROXY_CORE, LOAD_CORE = "0", "1"
UPSTREAM, UPSTREAM_TLS, UPSTREAM_H2 = 19101, 19102, 19103
FRONT, ADMIN = 19200, 19300
BODY = "x" * 1024


class Processes:
    """What was started here, and is ended here."""

    def __init__(self, work):
        self.work, self.children = work, []

    def start(self, name, core, *command):
        log = open(self.work / f"{name}.log", "wb")
        child = subprocess.Popen(
            ["taskset", "-c", core, *map(str, command)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def stop(self, child):
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self.children.remove(child)

    def end(self):
        for child in list(self.children):
            self.stop(child)


def family(pid):
    """A process and its children: nginx works in a child."""
    found = [pid]
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(status.parent.name))
        except (OSError, IndexError):
            pass
    return found


def cpu(pid):
    """Seconds of processor time, of all threads: /proc/PID/stat counts in ticks of 10 ms, this does not."""
    total = 0
    for process in family(pid):
        for thread in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                total += int(thread.read_text().split()[0])
            except OSError:
                pass
    return total / 1e9


def resident(pid):
    """Kilobytes of memory that is not shared with files."""
    total = 0
    for process in family(pid):
        text = pathlib.Path(f"/proc/{process}/status").read_text()
        total += int(re.search(r"RssAnon:\s+(\d+)", text)[1])
    return total


# MARK: What the proxies are told


def certificates(work):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=work)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/O=mesh")
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/")
        (work / f"{name}.ext").write_text(f"subjectAltName=critical,URI:spiffe://bench/ns/default/sa/{name}\n")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile",
            f"{name}.ext", "-out", f"{name}.pem")


def upstream(work):
    path = work / "upstream.conf"
    path.write_text(f"""
worker_processes 1; daemon off; pid {work}/upstream.pid; error_log {work}/upstream.err;
events {{ worker_connections 30000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u;
  scgi_temp_path {work}/s; default_type application/octet-stream; http2_max_requests 1000000000;
  server {{
    listen 127.0.0.1:{UPSTREAM}; location / {{ return 200 "{BODY}"; }}
    location = /long {{ root {work}; sendfile on; }}
  }}
  server {{
    listen 127.0.0.1:{UPSTREAM_TLS} ssl; ssl_certificate {work}/server.pem; ssl_certificate_key {work}/server.key;
    ssl_client_certificate {work}/ca.pem; ssl_verify_client on; location / {{ return 200 "{BODY}"; }}
  }}
  server {{
    listen 127.0.0.1:{UPSTREAM_H2} http2; http2_max_concurrent_streams 1000;
    location / {{ add_trailer grpc-status 0 always; default_type application/grpc; return 200 "{BODY}"; }}
  }}
}}
""")
    return path


def bootstrap(work, kind, routes=10, clusters=1, admin=ADMIN):
    """One listener in front of one upstream. Kinds: http, tls (of the listener), mtls (to the upstream), h2, tcp."""
    port = {"mtls": UPSTREAM_TLS, "h2": UPSTREAM_H2}.get(kind, UPSTREAM)
    typed = "type.googleapis.com/envoy.extensions"
    cluster = {
        "name": "upstream", "type": "STATIC", "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [
            {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}]},
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
    }
    if kind == "mtls":
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": f"{typed}.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": {"filename": f"{work}/client.pem"},
                    "private_key": {"filename": f"{work}/client.key"}}],
                "validation_context": {
                    "trusted_ca": {"filename": f"{work}/ca.pem"},
                    "match_typed_subject_alt_names": [
                        {"san_type": "URI", "matcher": {"exact": "spiffe://bench/ns/default/sa/server"}}]}}}}
    if kind == "h2":
        cluster["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{typed}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}}
    log = {"name": "envoy.access_loggers.file", "typed_config": {
        "@type": f"{typed}.access_loggers.file.v3.FileAccessLog", "path": "/dev/null"}}
    if kind == "tcp":
        network = {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
            "@type": f"{typed}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "front", "cluster": "upstream",
            "access_log": [log]}}
    else:
        extra = [
            {"match": {"prefix": f"/no/{number}/"}, "route": {"cluster": "upstream"}} for number in range(routes - 1)]
        rules = {"action": "DENY", "policies": {"none": {
            "permissions": [{"url_path": {"path": {"prefix": "/forbidden"}}}], "principals": [{"any": True}]}}}
        network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
            "@type": f"{typed}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "front", "access_log": [log],
            "route_config": {"name": "front", "virtual_hosts": [
                {"name": "all", "domains": ["*"],
                 "routes": [*extra, {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}]},
            "http_filters": [
                {"name": "envoy.filters.http.rbac", "typed_config": {
                    "@type": f"{typed}.filters.http.rbac.v3.RBAC", "rules": rules}},
                {"name": "envoy.filters.http.router", "typed_config": {
                    "@type": f"{typed}.filters.http.router.v3.Router"}}]}}
    chain = {"filters": [network]}
    if kind == "tls":
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": f"{typed}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [{
                "certificate_chain": {"filename": f"{work}/server.pem"},
                "private_key": {"filename": f"{work}/server.key"}}]}}}
    idle = [{**cluster, "name": f"idle-{number}"} for number in range(clusters - 1)]
    document = {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [{
                "name": "front", "address": {"socket_address": {"address": "127.0.0.1", "port_value": FRONT}},
                "filter_chains": [chain]}],
            "clusters": [cluster, *idle]},
    }
    path = work / f"{kind}-{routes}-{clusters}.yaml"
    path.write_text(json.dumps(document))
    return path


def nginx_front(work, kind):
    target = {
        "http": f"server 127.0.0.1:{UPSTREAM};", "mtls": f"server 127.0.0.1:{UPSTREAM_TLS};",
    }[kind]
    tls = f"""proxy_ssl_certificate {work}/client.pem; proxy_ssl_certificate_key {work}/client.key;
        proxy_ssl_trusted_certificate {work}/ca.pem;""" if kind == "mtls" else ""
    path = work / f"front-{kind}.conf"
    path.write_text(f"""
worker_processes 1; daemon off; pid {work}/front.pid; error_log {work}/front.err;
events {{ worker_connections 30000; }}
http {{
  access_log /dev/null; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {work}/b2; proxy_temp_path {work}/p2; fastcgi_temp_path {work}/f2; uwsgi_temp_path {work}/u2;
  scgi_temp_path {work}/s2;
  upstream up {{ {target} keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{FRONT}; location / {{
    proxy_pass {'https' if kind == 'mtls' else 'http'}://up; proxy_http_version 1.1; proxy_set_header Connection ""; {tls} }} }}
}}
""")
    return path


def haproxy_front(work):
    path = work / "front.cfg"
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
  bind 127.0.0.1:{FRONT}
  default_backend up
backend up
  http-reuse always
  server one 127.0.0.1:{UPSTREAM}
""")
    return path


def envoy_program():
    directory = subprocess.run(
        [sys.executable, "-c", "import envoy, os; print(os.path.dirname(envoy.__file__))"],
        capture_output=True, text=True, check=True).stdout.strip()
    return directory + "/_bin/envoy"


class Bench:
    def __init__(self, work, arguments):
        self.work, self.arguments = work, arguments
        self.processes = Processes(work)
        self.envoy = envoy_program()
        self.results, self.missed = {}, []

    def start_front(self, name, kind, **options):
        if name == "nginx":
            command = ["nginx", "-p", self.work, "-c", nginx_front(self.work, kind)]
        elif name == "haproxy":
            command = ["haproxy", "-f", haproxy_front(self.work)]
        else:
            file = bootstrap(self.work, kind, **options)
            command = (
                [self.envoy, "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
                if name == "envoy" else [BUILT / "martinet", "proxy", "--bootstrap", file, "--concurrency", "1"])
        child = self.processes.start(f"front-{name}", PROXY_CORE, *command)
        for _ in range(300):
            try:
                connection = self.connection(kind)
                connection.request("GET", "/")
                if connection.getresponse().read() == BODY.encode() or kind in ("h2",):
                    return child
            except (OSError, http.client.HTTPException):
                if child.poll() is not None:
                    break
            time.sleep(0.05)
        raise SystemExit(f"{name} does not serve {kind}: see {(self.work / f'front-{name}.log').read_text()[-2000:]}")

    def load(self, kind, seconds, connections=64, path="echo"):
        """One run of load. Returns requests, errors, and the tool's words."""
        if kind in ("h2", "grpc"):
            extra = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(self.work / "message")] \
                if kind == "grpc" else []
            command = [
                "h2load", "-c", "4", "-m", "64", "-D", str(seconds), "--warm-up-time", "0", *extra,
                f"http://127.0.0.1:{FRONT}/echo"]
            words = subprocess.run(
                ["taskset", "-c", LOAD_CORE, *command], capture_output=True, text=True, check=True).stdout
            done = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed", words)
            return int(done[1]), int(done[2]), words
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--latency",
                   f"http://127.0.0.1:{FRONT}/{path}"]
        words = subprocess.run(
            ["taskset", "-c", LOAD_CORE, *command], capture_output=True, text=True, check=True).stdout
        errors = re.search(r"Non-2xx or 3xx responses: (\d+)", words)
        return int(re.search(r"(\d+) requests in", words)[1]), int(errors[1]) if errors else 0, words

    def per_request(self, name, kind, seconds, **options):
        """Processor time of a request in µs, and requests per second."""
        child = self.start_front(name, "h2" if kind == "grpc" else kind, **options)
        try:
            self.load(kind, 1)
            before, start = cpu(child.pid), time.monotonic()
            requests, errors, _ = self.load(kind, seconds)
            took, spent = time.monotonic() - start, cpu(child.pid) - before
            if errors:
                self.missed.append(f"{name} {kind}: {errors} of {requests} requests failed")
            return spent / requests * 1e6, requests / took
        finally:
            self.processes.stop(child)

    def compare(self, title, kind, names, bars, **options):
        """Takes turns, prints medians and ratios. `bars`: by rival, what martinet may cost at most, as a ratio."""
        figures = {name: [] for name in names}
        for _ in range(self.arguments.rounds):
            for name in names:
                figures[name].append(self.per_request(name, kind, self.arguments.seconds, **options))
        print(f"\n{title}")
        cost = {name: statistics.median(one for one, _ in found) for name, found in figures.items()}
        for name, found in figures.items():
            rate = statistics.median(rate for _, rate in found)
            print(f"  {name:10} {cost[name]:7.1f} us of processor time a request, {rate:8.0f} requests/s")
        for rival, bar in bars.items():
            self.hold(f"{title}: processor time against {rival}", cost["martinet"] / cost[rival], bar)
        self.results[title] = cost

    def hold(self, what, figure, bar, unit="x"):
        held = figure <= bar
        print(f"  {'held' if held else 'MISSED':7} {what}: {figure:.2f} {unit}, at most {bar:.2f}")
        if not held:
            self.missed.append(f"{what}: {figure:.2f} {unit}, at most {bar:.2f}")

    def latency(self):
        """At half of what the slower one does; wrk has no rate, so hey asks with a bounded one."""
        lowest = min(self.per_request(name, "http", 2)[1] for name in ("martinet", "envoy"))
        rate = lowest / 2
        print(f"\nlatency at {rate:.0f} requests/s, half of the slower one's limit")
        found = {"martinet": [], "envoy": []}
        for _ in range(self.arguments.rounds):
            for name in found:
                child = self.start_front(name, "http")
                try:
                    words = subprocess.run(
                        ["taskset", "-c", LOAD_CORE, "hey", "-z", f"{self.arguments.seconds}s", "-c", "16", "-q",
                         str(rate / 16), f"http://127.0.0.1:{FRONT}/echo"],
                        capture_output=True, text=True, check=True).stdout
                    found[name].append([
                        float(re.search(rf"{share}% in ([\d.]+) secs", words)[1]) * 1000 for share in (50, 99)])
                finally:
                    self.processes.stop(child)
        for place, share in enumerate(("p50", "p99")):
            middle = {name: statistics.median(one[place] for one in each) for name, each in found.items()}
            for name, milliseconds in middle.items():
                print(f"  {name:10} {share} {milliseconds:.2f} ms")
            self.hold(f"latency {share} against envoy", middle["martinet"] / middle["envoy"], 1)

    def memory(self):
        print("\nmemory (anonymous, resident)")
        for title, bar, measure in (
            ("the book shop's configuration", 1 / 3, self.shop), ("5,000 clusters", 1 / 4, self.clusters),
        ):
            size = {name: measure(name) for name in ("martinet", "envoy")}
            for name, kilobytes in size.items():
                print(f"  {name:10} {title}: {kilobytes / 1024:.1f} MB")
            self.hold(f"memory with {title} against envoy", size["martinet"] / size["envoy"], bar)
        for kind, bar in (("http", 2), ("tls", 20)):
            for name in ("martinet", "envoy"):
                child = self.start_front(name, kind)
                before = resident(child.pid)
                held = [self.connect(kind) for _ in range(2000)]
                time.sleep(0.5)
                each = (resident(child.pid) - before) / len(held)
                for connection in held:
                    connection.close()
                self.processes.stop(child)
                print(f"  {name:10} idle {kind} connection that has asked once: {each:.1f} KB")
                if name == "martinet":
                    self.hold(f"memory of an idle {kind} connection", each, bar, "KB")

    def shop(self, name):
        """The product page's proxy in the demo's mesh, before its first calls."""
        work = self.work / f"shop-{name}"
        work.mkdir()
        demo = Demo(work, name)
        try:
            with contextlib.redirect_stdout(io.StringIO()) as story:
                demo.begin()
            if demo.story.failed:
                sys.exit(f"the book shop does not begin:\n{story.getvalue()}")
            time.sleep(0.5)
            return resident(demo.children["proxy-productpage-v1"].pid)
        finally:
            demo.end()

    def clusters(self, name):
        child = self.start_front(name, "http", clusters=5000)
        time.sleep(0.5)
        try:
            return resident(child.pid)
        finally:
            self.processes.stop(child)

    @staticmethod
    def connection(kind):
        if kind == "tls":
            return http.client.HTTPSConnection("127.0.0.1", FRONT, timeout=5, context=ssl._create_unverified_context())
        return http.client.HTTPConnection("127.0.0.1", FRONT, timeout=5)

    def connect(self, kind):
        connection = self.connection(kind)
        connection.request("GET", "/")
        connection.getresponse().read()
        return connection

    def routes(self):
        few, many = [], []
        for _ in range(self.arguments.rounds):
            few.append(self.per_request("martinet", "http", self.arguments.seconds, routes=10)[0])
            many.append(self.per_request("martinet", "http", self.arguments.seconds, routes=1000)[0])
        print("\nroutes")
        self.hold("a request among 1,000 routes against 10", statistics.median(many) / statistics.median(few), 1.1)

    def throughput(self):
        """Short answers and long ones through TCP: processor time, and bytes per second."""
        print("\nTCP")
        for title, path, connections in (("1 KB there and back", "echo", 64), ("1 MB there", "long", 8)):
            spent, rates = {"martinet": [], "envoy": []}, {"martinet": [], "envoy": []}
            for _ in range(self.arguments.rounds):
                for name in spent:
                    child = self.start_front(name, "tcp")
                    try:
                        self.load("tcp", 1, connections, path)
                        before, start = cpu(child.pid), time.monotonic()
                        requests, errors, _ = self.load("tcp", self.arguments.seconds, connections, path)
                        if errors:
                            self.missed.append(f"{name} {title}: {errors} of {requests} requests failed")
                        spent[name].append((cpu(child.pid) - before) / requests)
                        rates[name].append(requests / (time.monotonic() - start))
                    finally:
                        self.processes.stop(child)
            cost = {name: statistics.median(found) for name, found in spent.items()}
            rate = {name: statistics.median(found) for name, found in rates.items()}
            for name in cost:
                print(f"  {name:10} {title}: {cost[name] * 1e6:.1f} us of processor time, {rate[name]:.0f} a second")
            self.hold(f"TCP, {title}: processor time against envoy", cost["martinet"] / cost["envoy"], 1)
        # Load and upstream share a core, which may be what limits both.
        self.hold("TCP, 1 MB there: bytes per second, envoy's against martinet's", rate["envoy"] / rate["martinet"], 1.03)

    def run(self):
        certificates(self.work)
        (self.work / "long").write_bytes(b"z" * (1 << 20))
        (self.work / "message").write_bytes(b"\0\0\0\0\x20" + b"y" * 32)
        self.processes.start("upstream", LOAD_CORE, "nginx", "-p", self.work, "-c", upstream(self.work))
        time.sleep(0.3)
        parts = {
            "http": lambda: self.compare(
                "HTTP/1.1 keep-alive, 1 KB", "http", ["martinet", "envoy", "nginx", "haproxy"],
                {"envoy": 1 / 3, "nginx": 1.3}),
            "mtls": lambda: self.compare(
                "mTLS to the upstream", "mtls", ["martinet", "envoy", "nginx"], {"envoy": 0.5}),
            "h2": lambda: self.compare("HTTP/2 multiplexed", "h2", ["martinet", "envoy"], {"envoy": 0.5}),
            "grpc": lambda: self.compare("gRPC unary", "grpc", ["martinet", "envoy"], {"envoy": 0.5}),
            "tcp": self.throughput, "latency": self.latency, "memory": self.memory, "routes": self.routes,
        }
        for name, part in parts.items():
            if not self.arguments.only or name in self.arguments.only:
                part()
        print("\n" + ("Every bar held." if not self.missed else "Missed:\n  " + "\n  ".join(self.missed)))
        return 1 if self.missed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="of each run (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: 3)")
    parser.add_argument("--only", nargs="*", help="http mtls h2 grpc tcp latency memory routes")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="martinet-bench-") as work:
        # nginx's worker may be another user, who reads the long answer there.
        os.chmod(work, 0o711)
        bench = Bench(pathlib.Path(work), arguments)
        try:
            return bench.run()
        finally:
            bench.processes.end()


if __name__ == "__main__":
    sys.exit(main())
