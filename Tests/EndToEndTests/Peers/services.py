"""Asks a server's services through grpcio, and prints what they say, one line a fact.

Usage: services.py TARGET [CA CERTIFICATE KEY]
"""
import sys

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc

target = sys.argv[1]
if len(sys.argv) > 2:
    ca, certificate, key = (open(path, "rb").read() for path in sys.argv[2:5])
    channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(ca, key, certificate))
else:
    channel = grpc.insecure_channel(target)


def attempt(name, work):
    try:
        print(name, work(), flush=True)
    except grpc.RpcError as error:
        print(name, error.code().name, error.details(), flush=True)


health = health_pb2_grpc.HealthStub(channel)


def check(service):
    reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)


attempt("health-server", lambda: check(""))
attempt("health-ads", lambda: check("envoy.service.discovery.v3.AggregatedDiscoveryService"))
attempt("health-unknown", lambda: check("no.such.Service"))


def watch(service):
    call = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=5)
    first = health_pb2.HealthCheckResponse.ServingStatus.Name(next(iter(call)).status)
    call.cancel()
    return first


attempt("health-watch", lambda: watch(""))
attempt("health-watch-unknown", lambda: watch("no.such.Service"))

database = ProtoReflectionDescriptorDatabase(channel)
services = list(database.get_services())
print("reflection-services", " ".join(sorted(services)), flush=True)
pool = descriptor_pool.DescriptorPool(database)
listener = pool.FindMessageTypeByName("envoy.config.listener.v3.Listener")
print("reflection-listener", listener.fields_by_name["filter_chains"].number, flush=True)
control = pool.FindServiceByName("martinet.control.v1.Control")
print("reflection-control", " ".join(method.name for method in control.methods), flush=True)

csds = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(channel)


def describe(reply):
    facts = []
    for config in reply.config:
        for entry in config.generic_xds_configs:
            kind = entry.type_url.rsplit(".", 1)[-1]
            facts.append(f"{config.node.id}/{kind}/{entry.name}/{entry.client_status}/{entry.config_status}")
    return " ".join(sorted(facts))


attempt("csds-fetch", lambda: describe(csds.FetchClientStatus(csds_pb2.ClientStatusRequest(), timeout=5)))
attempt("csds-stream", lambda: describe(next(csds.StreamClientStatus(iter([csds_pb2.ClientStatusRequest()]), timeout=5))))
request = csds_pb2.ClientStatusRequest()
request.node_matchers.add().node_id.exact = "nobody"
attempt("csds-nobody", lambda: describe(csds.FetchClientStatus(request, timeout=5)))

raw = channel.unary_unary("/martinet.control.v1.Control/List")
attempt("control-list", lambda: len(raw(b"\x1a\x01*", timeout=5)) > 0)
