"""Requests on kept connections until SIGTERM, then one line of JSON: answers by code, and failures in words.

Usage: load.py URL CONNECTIONS REQUESTS_PER_SECOND
"""
import collections
import http.client
import json
import signal
import sys
import threading
import time
from urllib.parse import urlsplit

url, connections, rate = urlsplit(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
answers, lock = collections.Counter(), threading.Lock()


def run():
    connection = None
    while not stopped.is_set():
        began = time.monotonic()
        try:
            connection = connection or http.client.HTTPConnection(url.hostname, url.port, timeout=10)
            connection.request("GET", url.path or "/")
            response = connection.getresponse()
            body = response.read()
            key = str(response.status) if response.status == 200 else f"{response.status} {body[:200]}"
        except (OSError, http.client.HTTPException) as error:
            key, connection = repr(error), None
        with lock:
            answers[key] += 1
        stopped.wait(max(0, connections / rate - (time.monotonic() - began)))


threads = [threading.Thread(target=run) for _ in range(connections)]
for thread in threads:
    thread.start()
print("running", flush=True)
# At most ten minutes, whatever becomes of the test.
stopped.wait(600)
stopped.set()
for thread in threads:
    thread.join()
print(json.dumps(answers), flush=True)
