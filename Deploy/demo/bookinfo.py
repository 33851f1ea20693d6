"""The demo of a mesh: a book shop of six workloads and a rogue, each behind a proxy, ruled by the objects of Deploy/bookinfo.

Run by `make demo` with martinet's proxies, and by `make demo-envoy` with Envoys: the same story. ONCE=1 ends it after
the story, with 0 if each step held.

Each workload has three loopback addresses: 127.1.0.N where its Envoy takes the calls of others, 127.2.0.N where its
application listens, 127.3.0.N where its Envoy takes what the application calls.
"""
import collections
import concurrent.futures
import http.client
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from story import Story, bold, milliseconds, until

TOP = pathlib.Path(__file__).resolve().parents[2]
OBJECTS = TOP / "Deploy/bookinfo"
BUILT = pathlib.Path(os.environ.get("BUILT", TOP / ".build-release/release"))
CONSOLE, XDS, ADMIN = 15014, 15012, 15900
# Name, account, labels, arguments of the application.
WORKLOADS = [
    ("productpage-v1", "default", "bookinfo-productpage", {"app": "productpage", "version": "v1"}, ["productpage"]),
    ("details-v1", "default", "bookinfo-details", {"app": "details", "version": "v1"}, ["details"]),
    ("ratings-v1", "default", "bookinfo-ratings", {"app": "ratings", "version": "v1"}, ["ratings"]),
    *(
        (f"reviews-{version}", "default", "bookinfo-reviews", {"app": "reviews", "version": version},
         ["reviews", "--version", version, "--timeout", "10s"])
        for version in ("v1", "v2", "v3")
    ),
    ("rogue", "default", "rogue", {"app": "rogue"}, None),
    ("istio-ingressgateway", "istio-system", "istio-ingressgateway-service-account", {"istio": "ingressgateway"}, None),
]
NUMBER = {name: number for number, (name, *_) in enumerate(WORKLOADS, 1)}
PAGE, DOOR = f"127.3.0.{NUMBER['productpage-v1']}", f"127.1.0.{NUMBER['istio-ingressgateway']}"
ROGUE = f"127.3.0.{NUMBER['rogue']}"


class Connection:
    """A kept connection; a new one when it breaks between two calls."""

    def __init__(self, address, port=9080, host="reviews:9080"):
        self.address, self.port, self.host, self.open = address, port, host, None

    def get(self, path="/reviews/0", **headers):
        for attempt in range(2):
            fresh = self.open is None
            try:
                self.open = self.open or http.client.HTTPConnection(self.address, self.port, timeout=20)
                names = {name.replace("_", "-"): value for name, value in headers.items()}
                self.open.request("GET", path, headers={"host": self.host, **names})
                answer = self.open.getresponse()
                return answer.status, answer.headers.get("x-version", ""), answer.read().decode()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
                self.open = None
                if fresh or attempt:
                    return 0, "", repr(error)
            except (OSError, http.client.HTTPException) as error:
                self.open = None
                return 0, "", repr(error)


def tally(count, connections=4, **headers):
    """Which version of reviews answers the product page, or with what code."""

    def run(share):
        connection, answers = Connection(PAGE), collections.Counter()
        for _ in range(share):
            code, version, words = connection.get(**headers)
            answers[version if code == 200 else f"code {code}" if code else words] += 1
        return answers

    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        return sum(pool.map(run, [count // connections] * connections), collections.Counter())


def page(user=None):
    """What a person sees: the page through the gateway."""
    cookie = {"cookie": f"bookinfo-user={user}"} if user else {}
    return Connection(DOOR, 8080, "shop.example").get("/productpage", **cookie)


def shown(counts):
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))


class Load:
    """Calls all the while."""

    def __enter__(self):
        self.answers, self.stop = collections.Counter(), threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(2)]
        for thread in self.threads:
            thread.start()
        return self

    def run(self):
        connection = Connection(PAGE)
        while not self.stop.wait(0.01):
            code, version, words = connection.get()
            self.answers[version if code == 200 else f"code {code} {words[:80]}"] += 1

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def envoy(bootstrap):
    """How to run an Envoy of the virtual environment."""
    program = subprocess.run(
        [sys.executable, "-c", "import envoy, os; print(os.path.dirname(envoy.__file__))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip() + "/_bin/envoy"
    return [
        program, "-c", str(bootstrap), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
        "--drain-time-s", "45", "--drain-strategy", "immediate",
    ]


def proxy(bootstrap):
    """How to run martinet's own proxy with the same file."""
    return [BUILT / "martinet", "proxy", "--bootstrap", str(bootstrap)]


DATA_PLANES = {"envoy": envoy, "martinet": proxy}


class Demo:
    def __init__(self, work, data_plane):
        self.work = pathlib.Path(work)
        self.data_plane = DATA_PLANES[data_plane]
        self.children = {}
        self.story = Story()
        self.tokens = {}

    def start(self, name, *command):
        log = open(self.work / f"{name}.log", "ab")
        self.children[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def martinet(self, *arguments, text=None):
        done = subprocess.run(
            [BUILT / "martinet", *arguments, "--data", str(self.work / "data")], capture_output=True, text=True,
            timeout=120, input=text,
        )
        return done.returncode, done.stdout, done.stderr

    def apply(self, *names, text=None):
        files = [argument for name in names for argument in ("-f", str(OBJECTS / name))]
        code, output, errors = self.martinet("apply", "--wait", *files, *(["-f", "-"] if text else []), text=text)
        self.story.tell(f"martinet apply --wait {' '.join(names) or '-'}")
        if code != 0:
            self.story.check(False, output + errors)

    def start_workload(self, name, namespace, account, labels, arguments):
        number = NUMBER[name]
        inbound, application, outbound = (f"127.{kind}.0.{number}" for kind in (1, 2, 3))
        if arguments:
            calling = ["--through", outbound] if arguments[0] in ("productpage", "reviews") else []
            self.start(name, BUILT / "bookinfo", *arguments, "--listen", f"{application}:9080", *calling)
        if account not in self.tokens:
            code, output, errors = self.martinet(
                "token", "create", "--namespace", namespace, "--service-account", account, "--ttl", "1h", "--uses", "0")
            self.tokens[account] = output.strip()
        kind = "router" if "istio" in labels else "sidecar"
        words = ", ".join(f"{key}: {value}" for key, value in labels.items())
        bootstrap = self.work / f"{name}.yaml"
        bootstrap.write_text(f"""
node:
  id: {kind}~{inbound}~{name}.{namespace}~{namespace}.svc.cluster.local
  cluster: {name}.{namespace}
  metadata:
    NAMESPACE: {namespace}
    SERVICE_ACCOUNT: {account}
    WORKLOAD_NAME: {name}
    LABELS: {{ {words} }}
    INTERCEPTION_MODE: NONE
    INSTANCE_IPS: "{inbound}"
    MARTINET: {{ OUTBOUND_ADDRESS: "{outbound}", APP_ADDRESS: "{application}" }}
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {ADMIN + number} }} }} }}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services:
      - envoy_grpc: {{ cluster_name: martinet }}
        initial_metadata: [{{ key: authorization, value: Bearer {self.tokens[account]} }}]
  cds_config: {{ resource_api_version: V3, ads: {{}} }}
  lds_config: {{ resource_api_version: V3, ads: {{}} }}
static_resources:
  clusters:
    - name: martinet
      type: STATIC
      connect_timeout: 1s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{ http2_protocol_options: {{}} }}
      load_assignment:
        cluster_name: martinet
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {XDS} }} }} }}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: localhost
          common_tls_context:
            alpn_protocols: [h2]
            validation_context: {{ trusted_ca: {{ filename: {self.work}/data/ca/root-cert.pem }} }}
""")
        self.start(f"proxy-{name}", *self.data_plane(bootstrap))

    def administer(self, name, path):
        connection = http.client.HTTPConnection(f"127.2.0.{NUMBER[name]}", 9080, timeout=5)
        connection.request("POST", path)
        connection.getresponse().read()
        connection.close()

    def begin(self):
        """Starts all, with the first objects."""
        story = self.story
        story.step("A control plane, seven workloads and a gateway, each with a proxy that knows but its token")
        self.start("martinet", BUILT / "martinet", "serve", "--data", str(self.work / "data"))
        took = until(lambda: Connection("127.0.0.1", CONSOLE, "console").get("/readyz")[0] == 200)
        story.check(took is not None, f"martinet serves after {milliseconds(took)}")
        for workload in WORKLOADS:
            self.start_workload(*workload)
        self.apply(
            "kube/bookinfo.yaml", "networking/bookinfo-gateway.yaml", "networking/destination-rule-all-mtls.yaml",
            "networking/virtual-service-all-v1.yaml",
        )
        took = until(lambda: page()[0] == 200 and "reviews-v1" in page()[2], 60)
        story.check(took is not None, f"the page is there through the gateway after {milliseconds(took)}")

    def tell(self):
        story = self.story
        self.begin()
        counts = tally(200)
        story.check(counts == {"v1": 200}, f"of 200 requests to reviews: {shown(counts)}")

        story.step("80/20: a fifth of the readers sees stars")
        self.apply("networking/virtual-service-reviews-80-20.yaml")
        counts = tally(1000)
        # Four standard deviations.
        story.check(
            150 <= counts["v2"] <= 250 and counts.total() == counts["v1"] + counts["v2"],
            f"of 1,000 requests: {shown(counts)}")

        story.step("The beta for jason alone")
        self.apply("networking/virtual-service-reviews-test-v2.yaml")
        his, others = tally(100, end_user="jason"), tally(100)
        story.check(his == {"v2": 100} and others == {"v1": 100}, f"jason: {shown(his)}; others: {shown(others)}")
        story.check("stars black" in page("jason")[2], "on his page the stars are black")

        story.step("Ratings fail for jason, and for nobody else")
        self.apply("networking/virtual-service-ratings-test-abort.yaml")
        story.check("No stars: ratings answered 500" in page("jason")[2], "his page says what failed, and stands")
        self.apply("networking/virtual-service-reviews-v3.yaml")
        story.check("stars red" in page()[2], "the others' stars are red by now")

        story.step("v1, v2, v3 in turn under load")
        self.apply("networking/virtual-service-all-v1.yaml")
        with Load() as load:
            for version in ("v1", "v2", "v3"):
                self.apply(text=route(version))
                time.sleep(0.5)
        story.check(load.answers.keys() <= {"v1", "v2", "v3"}, f"answers meanwhile: {shown(load.answers)}; none failed")

        story.step("A version that fails is ejected, and taken back when it has recovered")
        self.apply(text=EJECTION)
        before = tally(90)
        self.administer("reviews-v3", "/admin/fail?rate=1")
        took = until(lambda: tally(60).keys() == {"v1", "v2"})
        story.check(before.keys() == {"v1", "v2", "v3"} and took is not None, f"v3 is out after {milliseconds(took)}")
        self.administer("reviews-v3", "/admin/fail?rate=0")
        took = until(lambda: tally(60).keys() == {"v1", "v2", "v3"}, 60)
        story.check(took is not None, f"and back after {milliseconds(took)}")

        story.step("STRICT: who has no certificate of the mesh is refused")
        direct = f"127.1.0.{NUMBER['reviews-v1']}"
        story.check(Connection(direct).get()[0] == 200, "a plaintext request past every sidecar is served at first")
        self.apply(text=STRICT)
        took = until(lambda: Connection(direct).get()[0] == 0)
        story.check(took is not None and page()[0] == 200, f"and refused after {milliseconds(took)}; the shop goes on")

        story.step("A rogue: a workload of the mesh that nobody asked to call")
        story.check(self.rogue() == 200, "its certificate is good, so reviews answers it at first")
        self.apply(text=CALLERS)
        took = until(lambda: self.rogue() == 403)
        story.check(took is not None and page()[0] == 200, f"locked out after {milliseconds(took)}; the shop goes on")

        story.step("Every certificate and the root itself are replaced while traffic flows")
        start, before = time.monotonic(), self.root()
        with Load() as load:
            code, output, errors = self.martinet("ca", "rotate", "--root", "--wait", "--timeout", "60s")
            took = time.monotonic() - start
            time.sleep(0.5)
        story.check(code == 0 and self.root() != before, f"another root after {milliseconds(took)}{errors if code else ''}")
        story.check(
            load.answers.keys() <= {"v1", "v2", "v3"}, f"answers meanwhile: {shown(load.answers)}; none failed")

    def rogue(self):
        return Connection(ROGUE).get()[0]

    def root(self):
        return (self.work / "data/ca/root-cert.pem").read_text()

    def end(self):
        for child in reversed(self.children.values()):
            if child.poll() is None:
                child.terminate()
        for child in self.children.values():
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()


def route(version):
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: reviews }}
spec:
  hosts: [reviews]
  http: [{{ route: [{{ destination: {{ host: reviews, subset: {version} }} }}] }}]
"""


EJECTION = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews }
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: { simple: ROUND_ROBIN }
    outlierDetection: { consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 3s, maxEjectionPercent: 100 }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews }
spec:
  hosts: [reviews]
  http: [{ route: [{ destination: { host: reviews } }], retries: { attempts: 0 } }]
"""

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default }
spec: { mtls: { mode: STRICT } }
"""

CALLERS = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: reviews }
spec:
  selector: { matchLabels: { app: reviews } }
  rules: [{ from: [{ source: { principals: [cluster.local/ns/default/sa/bookinfo-productpage] } }] }]
"""


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="martinet-demo-") as work:
        demo = Demo(work, sys.argv[1])
        try:
            demo.tell()
            if demo.story.failed:
                print("\n" + bold("Not every step held:"))
                for line in demo.story.failed:
                    print("  ✘ " + line)
                log = (pathlib.Path(work) / "martinet.log").read_text(errors="replace")
                print(f"--- the end of martinet's log\n{log[-3000:]}")
                return 1
            print("\n" + bold("Every step held."))
            if os.environ.get("ONCE") == "1":
                return 0
            print(f"""
  http://{DOOR}:8080/productpage   the shop, through the gateway; sign in as jason
  http://127.0.0.1:{ADMIN + NUMBER['productpage-v1']}/           the admin page of the product page's proxy
  http://127.0.0.1:{CONSOLE}/metrics   martinet's metrics
  {BUILT}/martinet apply --data {demo.work}/data -f {OBJECTS}/networking/virtual-service-reviews-v3.yaml
  {BUILT}/martinet status --data {demo.work}/data

Ctrl-C ends it.""", flush=True)
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            return 0
        finally:
            demo.end()


if __name__ == "__main__":
    sys.exit(main())
