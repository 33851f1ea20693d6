"""Asks for the client status with a certificate, and prints the node ids that it is told of, or the status.

Usage: csds_caller.py PORT ROOT_CERT CERTIFICATE KEY
"""
import sys

import grpc
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc

port = sys.argv[1]
root, certificate, key = (open(path, "rb").read() for path in sys.argv[2:5])
channel = grpc.secure_channel(
    f"127.0.0.1:{port}", grpc.ssl_channel_credentials(root, key, certificate),
    [("grpc.ssl_target_name_override", "localhost")])
try:
    answer = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(channel).FetchClientStatus(
        csds_pb2.ClientStatusRequest(), timeout=10)
    print(*sorted(config.node.id for config in answer.config))
except grpc.RpcError as error:
    print(error.code().name, error.details())
