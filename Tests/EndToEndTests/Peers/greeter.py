"""A gRPC server without generated code: /test.Greeter/Name answers with the server's own name.

Usage: greeter.py PORT=NAME...
"""
import sys
from concurrent import futures

import grpc


def serve(port, name):
    handler = grpc.method_handlers_generic_handler(
        "test.Greeter", {"Name": grpc.unary_unary_rpc_method_handler(lambda request, _: name.encode())}
    )
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


servers = [serve(int(port), name) for port, name in (argument.split("=") for argument in sys.argv[1:])]
print("ready", flush=True)
for server in servers:
    server.wait_for_termination()
