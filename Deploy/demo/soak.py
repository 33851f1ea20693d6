"""The soak of martinet's proxies: `make soak-proxy`.

A control plane and the book shop behind martinet proxies, under constant load over kept and new connections, while
everything about them changes: certificates live for 20 seconds, the root is replaced again and again, routes, header
rules, policies and transport settings change, workloads end (told to, and killed), come back, and proxies are replaced
by others that take over their sockets. It ends with 1 if a request failed that no policy refused, if a policy let pass
what it forbids, or if the memory of a proxy that ran all the while has grown.
"""
import argparse
import collections
import itertools
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from bookinfo import BUILT, OBJECTS, Connection, shown
from story import until

CONSOLE, XDS = 15914, 15912
# Of a proxy's mean memory in the last third of the time, against the second third.
GROWTH, SLACK = 1.05, 2048
Workload = collections.namedtuple("Workload", "name namespace account labels application")


def replica(service, version, letter="", *more):
    labels = {"app": service, "version": version}
    return Workload(
        f"{service}-{version}{letter}", "default", f"bookinfo-{service}", labels,
        [service, "--version", version, *more])


# Those of a second letter come and go: another one has their part meanwhile.
WORKLOADS = [
    replica("productpage", "v1"), replica("details", "v1"), replica("ratings", "v1"),
    *(replica("reviews", version, "", "--timeout", "10s") for version in ("v1", "v2", "v3")),
    replica("details", "v1", "b"), replica("ratings", "v1", "b"), replica("reviews", "v3", "b", "--timeout", "10s"),
    Workload("rogue", "default", "rogue", {"app": "rogue"}, None),
    Workload(
        "istio-ingressgateway", "istio-system", "istio-ingressgateway-service-account", {"istio": "ingressgateway"},
        None),
]
NUMBER = {workload.name: number for number, workload in enumerate(WORKLOADS, 1)}
REPLACED = [workload for workload in WORKLOADS if workload.name in ("istio-ingressgateway", "reviews-v1")]
LETTERED = [workload for workload in WORKLOADS if workload.name.endswith("b")]


def place(kind, name):
    """A workload has three addresses: for the calls of others, of its application, for what it calls."""
    return f"127.{dict(inbound=5, application=6, outbound=7)[kind]}.0.{NUMBER[name]}"


class Tally:
    """What came of requests, from all threads."""

    def __init__(self):
        self.lock, self.counts, self.failures = threading.Lock(), collections.Counter(), []

    def note(self, kind, problem=None):
        with self.lock:
            self.counts[kind] += 1
            if problem:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {kind}: {problem}")


class Caller(threading.Thread):
    """Asks the same again and again, at a steady rate."""

    def __init__(self, soak, kind, rate, isKept, ask, judge):
        super().__init__(daemon=True)
        self.soak, self.kind, self.pause, self.isKept = soak, kind, 1 / rate, isKept
        self.ask, self.judge = ask, judge

    def run(self):
        connection, due = None, time.monotonic()
        while not self.soak.ending.wait(max(0, due - time.monotonic())):
            due = max(due + self.pause, time.monotonic() - 1)
            if connection is None or not self.isKept:
                connection = self.ask[0]()
            before = self.soak.permission
            start = time.monotonic()
            answer = connection.get(*self.ask[1:])
            took = time.monotonic() - start
            if not self.isKept and connection.open:
                connection.open.close()
            problem = self.judge(answer, {before, self.soak.permission})
            if problem is None and took > 10:
                problem = "no answer in ten seconds"
            self.soak.tally.note(self.kind, problem and f"{problem} after {took * 1000:.0f} ms")


def served(answer, _):
    code, _, words = answer
    return None if code == 200 else f"{code} {words[:120]!r}"


def wholePage(answer, _):
    code, _, words = answer
    if code != 200:
        return f"{code} {words[:120]!r}"
    problem = re.search(r'class="problem">(.{0,120})', words)
    return problem and f"the page is there, but {problem[1]!r}"


def asPermitted(answer, permissions):
    """The rogue: refused where the policy in force says so, served where it does not, either while it changes."""
    code, _, words = answer
    expected = {200 if permission else 403 for permission in permissions if permission is not None}
    if None in permissions:
        expected = {200, 403}
    return None if code in expected else f"{code} {words[:120]!r}, not {expected}"


class Soak:
    def __init__(self, work, arguments):
        self.work, self.arguments = pathlib.Path(work), arguments
        self.random = random.Random(arguments.seed)
        self.children, self.acting = {}, []
        self.tokens = {}
        self.tally = Tally()
        self.ending = threading.Event()
        # Whether the rogue may call reviews; nil: that is changing.
        self.permission = True
        # A proxy that ends has left the control plane, and takes connections for some seconds yet: by what it knew.
        self.leaving = threading.Lock()
        self.done = collections.Counter()
        self.problems = []
        self.memory = collections.defaultdict(list)
        self.begun = time.monotonic()

    # MARK: Processes

    def start(self, name, *command):
        with open(self.work / f"{name}.log", "ab") as log:
            child = subprocess.Popen(
                [str(word) for word in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.children[name] = child
        return child

    def finish(self, name, force=False):
        """Ends what was started here, and waits for it."""
        child = self.children.pop(name)
        if force:
            child.kill()
        else:
            child.terminate()
        try:
            child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{name} does not end")
            child.kill()
            child.wait()

    def martinet(self, *arguments, text=None, timeout=180):
        done = subprocess.run(
            [BUILT / "martinet", *arguments, "--data", str(self.work / "data")], capture_output=True, text=True,
            input=text, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    def apply(self, text=None, files=()):
        names = [argument for name in files for argument in ("-f", str(OBJECTS / name))]
        code, output, errors = self.martinet("apply", "--wait", *names, *(["-f", "-"] if text else []), text=text)
        self.done["changes"] += 1
        # A proxy that was ended or killed on the way cannot answer: that is no fault of the change.
        if code != 0 and not re.search(r"does not answer|no answer|went away", output + errors):
            self.problems.append(f"apply: {(output + errors)[-400:]}")
        return code == 0

    def start_application(self, workload):
        if not workload.application:
            return
        calling = ["--through", place("outbound", workload.name)] \
            if workload.application[0] in ("productpage", "reviews") else []
        self.start(
            f"application-{workload.name}", BUILT / "bookinfo", *workload.application, "--listen",
            f"{place('application', workload.name)}:9080", *calling)

    def start_proxy(self, workload, process=None):
        name, account = workload.name, workload.account
        # Who takes the place of another has its certificate, and needs no token that is still good.
        key, uses = (name, "1") if workload in REPLACED else (account, "0")
        if key not in self.tokens:
            code, output, errors = self.martinet(
                "token", "create", "--namespace", workload.namespace, "--service-account", account, "--ttl", "7d",
                "--uses", uses)
            if code != 0:
                raise SystemExit(errors)
            self.tokens[key] = self.work / f"token-{key}"
            self.tokens[key].write_text(output)
        self.start(
            process or f"proxy-{name}", BUILT / "martinet", "proxy", "--control", f"127.0.0.1:{XDS}", "--tls-server-name",
            "localhost", "--root-cert", self.work / "data/ca/root-cert.pem", "--token-file", self.tokens[key],
            "--namespace", workload.namespace, "--service-account", account, "--name", name, "--workload", name,
            "--labels", ",".join(f"{key}={value}" for key, value in workload.labels.items()), "--address",
            place("inbound", name), "--outbound-address", place("outbound", name), "--app-address",
            place("application", name), "--service-cluster", f"{name}.{workload.namespace}", "--admin",
            f"{place('inbound', name)}:15000", "--stats", "off", "--drain-time", "12s", "--concurrency",
            "2" if name == "istio-ingressgateway" else "1", "--hand-over", self.work / f"hand-over-{name}", *(["--gateway"] if "istio" in workload.labels else []))

    def is_live(self, workload):
        return Connection(place("inbound", workload.name), 15000, "admin").get("/ready")[0] == 200

    # MARK: What goes on meanwhile

    def repeatedly(self, pause, act):
        """Acts every `pause` seconds until the end, in a thread."""

        def run():
            while not self.ending.wait(pause):
                try:
                    act()
                except Exception as error:  # Whatever it is, the soak must tell it.
                    self.problems.append(f"{act.__name__}: {error!r}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def change(self):
        """Another change of the mesh, of five kinds in turn."""
        next(self.changes)()

    def kinds_of_change(self):
        for number in itertools.count():
            yield lambda: self.apply(self.routes(number))
            yield lambda: self.apply(self.destinations(number))
            yield lambda: self.permit(number % 2 == 1)
            yield lambda: self.apply(STRICT if number % 2 else PERMISSIVE)
            yield lambda: self.apply(self.routes(number, matches=True))

    def routes(self, number, matches=False):
        """Weights, header rules, and a match by header that takes the same requests elsewhere."""
        shares = [self.random.randrange(1, 98) for _ in range(2)]
        low, high = min(shares), max(shares)
        weights = dict(v1=low, v2=high - low, v3=100 - high)
        matched = """
    - match: [{ headers: { x-soak: { exact: kept } } }]
      route: [{ destination: { host: reviews, subset: v3 } }]
      retries: { attempts: 3, retryOn: "connect-failure,refused-stream,unavailable,reset,503" }""" if matches else ""
        return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: reviews }}
spec:
  hosts: [reviews]
  http:{matched}
    - headers:
        request: {{ set: {{ x-round: "{number}" }}, remove: [x-unwanted] }}
        response: {{ add: {{ x-soak-round: "{number}" }} }}
      retries: {{ attempts: 3, retryOn: "connect-failure,refused-stream,unavailable,reset,503" }}
      route:
{chr(10).join(f"        - {{ destination: {{ host: reviews, subset: {name} }}, weight: {share} }}" for name, share in weights.items())}
"""

    def destinations(self, number):
        """How callers reach reviews: balancing, HTTP/2 or not, bounds that nothing comes near."""
        balancer = ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"][number % 3]
        upgrade = "UPGRADE" if number % 2 == 0 else "DO_NOT_UPGRADE"
        return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: reviews }}
spec:
  host: reviews
  trafficPolicy:
    tls: {{ mode: ISTIO_MUTUAL }}
    loadBalancer: {{ simple: {balancer} }}
    connectionPool: {{ http: {{ h2UpgradePolicy: {upgrade}, http1MaxPendingRequests: {1024 + number} }} }}
  subsets:
    - {{ name: v1, labels: {{ version: v1 }} }}
    - {{ name: v2, labels: {{ version: v2 }} }}
    - {{ name: v3, labels: {{ version: v3 }} }}
"""

    def permit(self, allowed):
        self.leaving.acquire()
        self.permission = None
        # Those who were told it may be on their way back: proxies that have just begun too.
        if self.apply(CALLERS + (f', "{PRINCIPAL}/rogue"' if allowed else "") + "] } }] }]\n"):
            self.permission = allowed
        self.leaving.release()

    def flap(self):
        """A workload ends and comes back: told to, or killed."""
        workload, kill = next(self.flapping)
        name = workload.name
        with self.leaving:
            self.finish(f"proxy-{name}", force=kill)
        self.finish(f"application-{name}", force=kill)
        self.done["killed" if kill else "ended"] += 1
        self.ending.wait(self.random.uniform(0, 8))
        self.start_application(workload)
        self.start_proxy(workload)
        if until(lambda: self.is_live(workload) or self.ending.is_set(), 40) is None:
            self.problems.append(f"{name} is not live again after 40 s")

    def replace(self):
        """Another proxy takes the place of one that serves."""
        workload = next(self.replaced)
        name = f"proxy-{workload.name}"
        with self.leaving:
            old = self.children.pop(name)
            self.children[name + " (old)"] = old
            self.start_proxy(workload)
            try:
                if old.wait(timeout=60) != 0:
                    self.problems.append(f"{name} has ended with {old.returncode} after another took its place")
            except subprocess.TimeoutExpired:
                self.problems.append(f"{name} does not end though another is there")
                return
        self.children.pop(name + " (old)", None)
        self.done["replaced"] += 1

    def rotate(self):
        code, _, errors = self.martinet("ca", "rotate", "--root", "--wait", "--timeout", "170s")
        if code == 0:
            self.done["roots"] += 1
        elif not self.ending.is_set():
            self.problems.append(f"rotation: {errors[-400:]}")

    # MARK: Memory

    def sample(self):
        for name, child in list(self.children.items()):
            if name.startswith("application") or child.poll() is not None:
                continue
            try:
                status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
            except OSError:
                continue
            size = re.search(r"RssAnon:\s+(\d+)", status)
            if size:
                self.memory[name].append((time.monotonic(), child.pid, int(size[1])))

    def growth(self, start, end):
        """By proxy that ran all the while: means of the second and the last third, in kilobytes."""
        third = (end - start) / 3
        found = {}
        for name, samples in sorted(self.memory.items()):
            if len({pid for _, pid, _ in samples}) > 1:
                continue
            parts = [
                [size for at, _, size in samples if start + low * third <= at < start + (low + 1) * third]
                for low in (1, 2)
            ]
            if all(parts):
                found[name] = [sum(part) / len(part) for part in parts]
        return found

    # MARK: The whole

    def begin(self):
        self.start(
            "martinet", BUILT / "martinet", "serve", "--data", self.work / "data", "--xds-plaintext", "off",
            "--xds-tls", f"127.0.0.1:{XDS}", "--http", f"127.0.0.1:{CONSOLE}", "--ca-leaf-ttl", "20s")
        if until(lambda: Connection("127.0.0.1", CONSOLE, "console").get("/readyz")[0] == 200) is None:
            raise SystemExit("the control plane does not begin: " + (self.work / "martinet.log").read_text()[-2000:])
        for workload in WORKLOADS:
            self.start_application(workload)
            self.start_proxy(workload)
        self.changes, self.replaced = self.kinds_of_change(), itertools.cycle(REPLACED)
        # Killed are those alone whose callers were told to try again whatever happens.
        self.flapping = itertools.cycle(
            [(workload, False) for workload in LETTERED]
            + [(workload, True) for workload in LETTERED if workload.labels["app"] == "reviews"])
        self.apply(files=[
            "kube/bookinfo.yaml", "networking/bookinfo-gateway.yaml", "networking/destination-rule-all-mtls.yaml"])
        self.apply(self.routes(0))
        gateway = place("inbound", "istio-ingressgateway")

        def shop():
            answer = Connection(gateway, 8080, "shop.example").get("/productpage")
            return wholePage(answer, None) is None and all(self.is_live(workload) for workload in WORKLOADS)

        if until(shop, 90) is None:
            raise SystemExit("the shop does not open")

    def callers(self):
        page, rogue = place("outbound", "productpage-v1"), place("outbound", "rogue")
        gateway = place("inbound", "istio-ingressgateway")
        share = self.arguments.rate / 10
        kinds = [
            ("reviews, kept connection", 3, True, [lambda: Connection(page)], served),
            ("reviews, new connections", 3, False, [lambda: Connection(page)], served),
            ("details, kept connection", 1, True, [lambda: Connection(page, 9080, "details:9080"), "/details/0"],
             served),
            ("page, kept connection", 1, True, [lambda: Connection(gateway, 8080, "shop.example"), "/productpage"],
             wholePage),
            ("page, new connections", 1, False, [lambda: Connection(gateway, 8080, "shop.example"), "/productpage"],
             wholePage),
            ("rogue, kept connection", 0.5, True, [lambda: Connection(rogue)], asPermitted),
            ("rogue, new connections", 0.5, False, [lambda: Connection(rogue)], asPermitted),
        ]
        return [Caller(self, kind, parts * share, *more) for kind, parts, *more in kinds]

    def tell(self):
        sizes = [samples[-1][2] for name, samples in self.memory.items() if name.startswith("proxy") and samples]
        control = self.memory["martinet"][-1][2] if self.memory["martinet"] else 0
        print(
            f"{time.monotonic() - self.begun:6.0f} s  {sum(self.tally.counts.values()):8} requests  "
            f"{len(self.tally.failures):3} failed  {shown(self.done) or '-'}; proxies {min(sizes) / 1024:.1f} to "
            f"{max(sizes) / 1024:.1f} MB, control plane {control / 1024:.1f} MB", flush=True)

    def run(self):
        self.begin()
        print(f"{len(WORKLOADS)} proxies, {self.arguments.rate} requests/s; seed {self.arguments.seed}", flush=True)
        start, told, said = time.monotonic(), 0, 0
        self.begun = start
        callers = self.callers()
        for caller in callers:
            caller.start()
        self.acting = [
            self.repeatedly(3, self.change), self.repeatedly(5, self.flap), self.repeatedly(30, self.rotate),
            self.repeatedly(20, self.replace)]
        while (elapsed := time.monotonic() - start) < self.arguments.seconds:
            self.sample()
            if elapsed >= told:
                self.tell()
                told += self.arguments.every
            for line in self.tally.failures[said:said + 20] if said < 60 else []:
                print("         " + line, flush=True)
                said += 1
            time.sleep(1)
            for name, child in list(self.children.items()):
                if "(old)" not in name and child.poll() is not None and self.children.get(name) is child:
                    self.children.pop(name)
                    self.problems.append(f"{name} has ended by itself with {child.returncode}")
        end = time.monotonic()
        self.ending.set()
        for thread in callers + self.acting:
            thread.join(timeout=200)
        return self.sum_up(start, end)

    def sum_up(self, start, end):
        self.tell()
        print("\nrequests: " + shown(self.tally.counts))
        grown = []
        for name, (middle, last) in self.growth(start, end).items():
            limit = middle * GROWTH + SLACK
            print(f"memory of {name}: {middle / 1024:.1f} MB in the second third, {last / 1024:.1f} MB in the last")
            if last > limit and name.startswith("proxy"):
                grown.append(f"{name} has grown to {last:.0f} KB, at most {limit:.0f}")
        failures = collections.Counter(re.sub(r"^\S+ |\d+ ms", "", line) for line in self.tally.failures)
        for line, count in failures.most_common(20):
            print(f"  ✘ {count} times {line}")
        for line in grown + self.problems[:20]:
            print("  ✘ " + line)
        held = not (failures or grown or self.problems)
        print(
            f"{'Held' if held else 'NOT held'}: {len(self.tally.failures)} requests failed that no policy refused; "
            f"memory of a proxy in the last third at most {GROWTH} times that of the second third and 2 MB")
        return 0 if held else 1

    def end(self):
        self.ending.set()
        # What they are at may start others.
        for thread in self.acting:
            thread.join(timeout=200)
        for child in list(self.children.values()):
            if child.poll() is None:
                child.terminate()
        for child in list(self.children.values()):
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


PRINCIPAL = "cluster.local/ns/default/sa"
CALLERS = f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: reviews }}
spec:
  selector: {{ matchLabels: {{ app: reviews }} }}
  rules: [{{ from: [{{ source: {{ principals: ["{PRINCIPAL}/bookinfo-productpage\""""
STRICT, PERMISSIVE = (f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: default }}
spec: {{ mtls: {{ mode: {mode} }} }}
""" for mode in ("STRICT", "PERMISSIVE"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600, help="how long (default: 3600)")
    parser.add_argument("--rate", type=float, default=100, help="requests per second (default: 100)")
    parser.add_argument("--every", type=int, default=10, help="seconds between lines of progress (default: 10)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is changed when")
    parser.add_argument("--keep", metavar="DIR", help="leave logs there")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="martinet-soak-") as work:
        if arguments.keep:
            pathlib.Path(arguments.keep).mkdir(parents=True, exist_ok=True)
        soak = Soak(arguments.keep or work, arguments)
        try:
            return soak.run()
        except KeyboardInterrupt:
            return 1
        finally:
            soak.end()


if __name__ == "__main__":
    sys.exit(main())
