"""HTTP upstreams: each PORT=NAME answers every request with NAME. Usage: upstream.py PORT=NAME..."""
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(port, name):
    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one write: in two, the second waits 40 ms for an acknowledgement of the first.
        wbufsize = -1

        def do_GET(self):
            body = name.encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()


pairs = [argument.split("=") for argument in sys.argv[1:]]
threads = [threading.Thread(target=serve, args=(int(port), name), daemon=True) for port, name in pairs]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
