"""A gRPC server whose security is xDS's: /test.Greeter/Name answers with the SPIFFE ID that the caller has proved.

Usage: GRPC_XDS_BOOTSTRAP=FILE xds_greeter.py PORT
"""
import sys
from concurrent import futures

import grpc


def name(_, context):
    return b",".join(context.auth_context().get("peer_spiffe_id", [b"nobody"]))


handler = grpc.method_handlers_generic_handler("test.Greeter", {"Name": grpc.unary_unary_rpc_method_handler(name)})
server = grpc.server(futures.ThreadPoolExecutor(max_workers=2), xds=True)
server.add_generic_rpc_handlers((handler,))
credentials = grpc.xds_server_credentials(grpc.insecure_server_credentials())
server.add_secure_port(f"127.0.0.1:{sys.argv[1]}", credentials)
server.start()
print("ready", flush=True)
server.wait_for_termination()
