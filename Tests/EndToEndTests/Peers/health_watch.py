"""Watches a server's health through grpcio until the server ends the call, one line a status.

Usage: health_watch.py TARGET
"""
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(sys.argv[1]))
try:
    for reply in stub.Watch(health_pb2.HealthCheckRequest(service="")):
        print(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status), flush=True)
except grpc.RpcError as error:
    print(error.code().name, flush=True)
