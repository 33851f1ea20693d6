"""Takes what proxies tell of their work, and prints a line for each message: access logs over gRPC (ALS), spans over
gRPC (OpenTelemetry), spans over HTTP (Zipkin).

Usage: collector.py GRPC_ADDRESS:PORT HTTP_ADDRESS:PORT
"""
import http.server
import json
import sys
import threading
from concurrent import futures

import grpc
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc


def say(*words):
    """One write a line: threads do not mix theirs."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Logs(als_pb2_grpc.AccessLogServiceServicer):
    def StreamAccessLogs(self, messages, _):
        name = ""
        for message in messages:
            if message.HasField("identifier"):
                name = message.identifier.log_name
            for entry in message.http_logs.log_entry:
                say("als", name, entry.request.path, entry.response.response_code.value)
            for _ in message.tcp_logs.log_entry:
                say("als", name, "tcp")
        return als_pb2.StreamAccessLogsResponse()


def export(request, _):
    say("otlp", len(request), "reviews" if b"reviews" in request else "")
    return b""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            spans = len(json.loads(body))
        except ValueError:
            spans = 0
        say("post", self.path, spans, self.headers.get("x-key"))
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
als_pb2_grpc.add_AccessLogServiceServicer_to_server(Logs(), server)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
    "opentelemetry.proto.collector.trace.v1.TraceService",
    {"Export": grpc.unary_unary_rpc_method_handler(export)}),))
server.add_insecure_port(sys.argv[1])
server.start()
address, port = sys.argv[2].rsplit(":", 1)
web = http.server.ThreadingHTTPServer((address, int(port)), Handler)
threading.Thread(target=web.serve_forever, daemon=True).start()
say("ready")
server.wait_for_termination()
