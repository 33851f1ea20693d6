"""The demo: a real Envoy takes its configuration from martinet and follows changes, step by step.

Run by `make demo-xds`. ONCE=1 ends it after the story, with 0 if each step held.
"""
import collections
import concurrent.futures
import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from story import Story, bold, milliseconds, until

TOP = pathlib.Path(__file__).resolve().parents[2]
DEMO = TOP / "Deploy/demo"
MARTINET = os.environ.get("MARTINET", str(TOP / ".build-release/release/martinet"))
PROXY, ADMIN, CONSOLE = 18080, 15900, 15014


def upstream(port, name):
    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one write: in two, the second waits 40 ms for an acknowledgement of the first.
        wbufsize = -1

        def do_GET(self):
            body = f"{name}\n".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def get(port, path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


def tally(count):
    """Who answered `count` requests; anything but a 200 is counted under its code."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: get(PROXY), range(count))
    return collections.Counter(body if code == 200 else f"code {code}" for code, body in answers)


def metric(name):
    lines = get(CONSOLE, "/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))


class Demo:
    def __init__(self, work):
        self.work = pathlib.Path(work)
        self.resources = self.work / "resources"
        shutil.copytree(DEMO / "resources", self.resources)
        self.children = []
        self.story = Story()

    def start(self, name, *command):
        log = open(self.work / f"{name}.log", "ab")
        child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def start_control_plane(self):
        return self.start(
            "martinet", MARTINET, "serve", "--data", str(self.work / "data"), "--resources", str(self.resources)
        )

    def martinet(self, *arguments):
        done = subprocess.run(
            [MARTINET, *arguments, "--data", str(self.work / "data")], capture_output=True, text=True, timeout=30
        )
        return done.returncode, done.stdout + done.stderr

    def edit(self, name, old, new):
        """As an editor saves: a new file, renamed over the old one."""
        path = self.resources / name
        text = path.read_text()
        if old not in text:
            raise SystemExit(f"demo: {path} does not hold {old!r}")
        beside = path.with_suffix(".new")
        beside.write_text(text.replace(old, new))
        beside.rename(path)

    def tell(self):
        story = self.story
        story.step("A control plane and an Envoy that knows nothing but where it is")
        control = self.start_control_plane()
        took = until(lambda: get(CONSOLE, "/readyz")[0] == 200)
        story.check(took is not None, f"martinet serves after {milliseconds(took)}")
        envoy = subprocess.run(
            [sys.executable, "-c", "import envoy, os; print(os.path.dirname(envoy.__file__))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        self.start(
            "envoy", f"{envoy}/_bin/envoy", "-c", str(DEMO / "envoy.yaml"), "--concurrency", "1",
            "--disable-hot-restart", "--log-level", "warning",
        )
        took = until(lambda: get(PROXY) == (200, "reviews v1"), 30)
        story.check(took is not None, f"Envoy has listener, route, clusters and endpoints, and answers after {milliseconds(took)}")

        story.step("80/20: the file with the route is saved, and traffic moves")
        self.edit("routes.yaml", "reviews-v1, weight: 100", "reviews-v1, weight: 80")
        self.edit("routes.yaml", "reviews-v2, weight: 0", "reviews-v2, weight: 20")
        took = until(lambda: tally(20)["reviews v2"] > 0)
        counts = tally(1000)
        story.tell(f"first answer of v2 after {milliseconds(took)}; of 1,000 requests: {dict(sorted(counts.items()))}")
        story.check(140 <= counts["reviews v2"] <= 260 and counts.total() == 1000, "about one in five goes to v2")

        story.step("A listener that Envoy cannot take: it says so, and the old one serves on")
        self.edit("listener.yaml", "address: 127.0.0.1", "address: not-an-address")
        took = until(lambda: self.martinet("status")[0] == 1)
        code, output = self.martinet("status")
        story.tell("martinet status:")
        for line in output.rstrip().splitlines():
            story.tell("  " + line)
        story.check(code == 1 and "not-an-address" in output, f"Envoy's own words are in the status after {milliseconds(took)}")
        story.check(tally(100).keys() <= {"reviews v1", "reviews v2"}, "100 of 100 requests are still served")
        self.edit("listener.yaml", "address: not-an-address", "address: 127.0.0.1")
        took = until(lambda: self.martinet("status")[0] == 0)
        story.check(took is not None, f"mended: the status is clean after {milliseconds(took)}")

        story.step("v1 goes away, route and cluster in one save, under load")
        failed = self.cut_over()
        story.check(failed.keys() <= {"reviews v1", "reviews v2"}, f"answers during the change: {dict(sorted(failed.items()))}")
        story.check(tally(100) == {"reviews v2": 100}, "everything goes to v2 now")

        story.step("The control plane is killed and started again: nothing unchanged is sent")
        control.send_signal(signal.SIGKILL)
        control.wait()
        story.check(tally(50) == {"reviews v2": 50}, "without it, traffic goes on")
        self.start_control_plane()
        took = until(lambda: "demo-envoy" in self.martinet("status")[1], 40)
        until(lambda: metric("martinet_xds_subscriptions") >= 4)
        sent = metric("martinet_xds_resources_sent_total")
        story.check(took is not None and sent == 0, f"Envoy is back after {milliseconds(took)}; resources sent: {sent:.0f}")

    def cut_over(self):
        answers, stop = collections.Counter(), threading.Event()

        def load():
            while not stop.is_set():
                code, body = get(PROXY)
                answers[body if code == 200 else f"code {code}"] += 1

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        self.edit("routes.yaml", "reviews-v1, weight: 80", "reviews-v2, weight: 80")
        clusters = (self.resources / "clusters.yaml").read_text()
        first, second = clusters.index("  - "), clusters.rindex('  - "@type"')
        self.edit("clusters.yaml", clusters[first:second], "")
        until(lambda: tally(20) == {"reviews v2": 20})
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join()
        return answers

    def end(self):
        for child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
        for child in self.children:
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    upstream(18091, "reviews v1")
    upstream(18092, "reviews v2")
    with tempfile.TemporaryDirectory(prefix="martinet-demo-") as work:
        demo = Demo(work)
        try:
            demo.tell()
            if demo.story.failed:
                print("\n" + bold("Not every step held:"))
                for line in demo.story.failed:
                    print("  ✘ " + line)
                for name in ("martinet", "envoy"):
                    log = (pathlib.Path(work) / f"{name}.log").read_text(errors="replace")
                    print(f"--- the end of {name}'s log\n{log[-3000:]}")
                return 1
            print("\n" + bold("Every step held."))
            if os.environ.get("ONCE") == "1":
                return 0
            print(f"""
  http://127.0.0.1:{PROXY}/           the shop, through Envoy
  http://127.0.0.1:{ADMIN}/           Envoy's admin page
  http://127.0.0.1:{CONSOLE}/metrics   martinet's metrics
  {demo.resources}   change a file here and see it happen
  {MARTINET} status --data {demo.work}/data

Ctrl-C ends it.""", flush=True)
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            return 0
        finally:
            demo.end()


sys.exit(main())
