"""Two authorization services: Envoy's over gRPC and one over HTTP. Both let in what says `x-pass: please`, and tell the
workload who let it in. A line is printed for each question.

Usage: authorizer.py GRPC_ADDRESS:PORT HTTP_ADDRESS:PORT
"""
import http.server
import sys
import threading
from concurrent import futures

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from google.rpc import code_pb2, status_pb2


def say(*words):
    """One write a line: threads do not mix theirs."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Authorizer(external_auth_pb2_grpc.AuthorizationServicer):
    def Check(self, request, _):
        asked = request.attributes.request.http
        say("grpc", asked.method, asked.path, request.attributes.source.principal)
        header = base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key="x-let-in-by", value="grpc"))
        # A connection that is no HTTP has no headers: it is let in.
        if not asked.method or asked.headers.get("x-pass") == "please":
            ok = external_auth_pb2.OkHttpResponse(headers=[header])
            return external_auth_pb2.CheckResponse(status=status_pb2.Status(code=code_pb2.OK), ok_response=ok)
        denied = external_auth_pb2.DeniedHttpResponse(headers=[header], body="not without asking")
        denied.status.code = 401
        return external_auth_pb2.CheckResponse(
            status=status_pb2.Status(code=code_pb2.PERMISSION_DENIED), denied_response=denied)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        say("http", self.command, self.path, self.headers.get("x-asked-by"))
        passes = self.headers.get("x-pass") == "please"
        body = b"" if passes else b"not without asking"
        self.send_response(200 if passes else 402)
        self.send_header("x-let-in-by", "http")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do_PUT = answer

    def log_message(self, *_):
        pass


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
external_auth_pb2_grpc.add_AuthorizationServicer_to_server(Authorizer(), server)
server.add_insecure_port(sys.argv[1])
server.start()
address, port = sys.argv[2].rsplit(":", 1)
web = http.server.ThreadingHTTPServer((address, int(port)), Handler)
threading.Thread(target=web.serve_forever, daemon=True).start()
say("ready")
server.wait_for_termination()
