"""Asks a control plane by health checking, reflection and client status, and prints what it says as JSON.

Usage: services.py TARGET [AUTHORITIES CERTIFICATE KEY]
"""
import json
import sys

import grpc
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def read(path):
    with open(path, "rb") as file:
        return file.read()


def channel(target, files):
    if not files:
        return grpc.insecure_channel(target)
    authorities, certificate, key = map(read, files)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(authorities, key, certificate))


def health(served):
    stub = health_pb2_grpc.HealthStub(served)
    name = health_pb2.HealthCheckResponse.ServingStatus.Name

    def check(service):
        try:
            return name(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status)
        except grpc.RpcError as error:
            return error.code().name

    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=5)
    first = name(next(watch).status)
    watch.cancel()
    return {
        "all": check(""),
        "ads": check("envoy.service.discovery.v3.AggregatedDiscoveryService"),
        "unknown": check("no.such.Service"),
        "watched": first,
    }


def reflection(served):
    database = ProtoReflectionDescriptorDatabase(served)
    pool = DescriptorPool(database)
    ads = pool.FindServiceByName("envoy.service.discovery.v3.AggregatedDiscoveryService")
    cluster = pool.FindMessageTypeByName("envoy.config.cluster.v3.Cluster")
    return {
        "services": sorted(database.get_services()),
        "ads": {method.name: method.input_type.full_name for method in ads.methods},
        "lbPolicy": cluster.fields_by_name["lb_policy"].enum_type.full_name,
    }


def client_status(served):
    stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(served)
    answer = stub.FetchClientStatus(csds_pb2.ClientStatusRequest(), timeout=5)
    streamed = next(stub.StreamClientStatus(iter([csds_pb2.ClientStatusRequest()]), timeout=5))
    status = csds_pb2.ClientConfig.DESCRIPTOR.file.pool.FindEnumTypeByName("envoy.admin.v3.ClientResourceStatus")
    return {
        "nodes": [config.node.id for config in answer.config],
        "streamed": [config.node.id for config in streamed.config],
        "resources": {
            f"{each.type_url.rpartition('.')[2]} {each.name}": status.values_by_number[each.client_status].name
            for config in answer.config
            for each in config.generic_xds_configs
        },
    }


with channel(sys.argv[1], sys.argv[2:]) as served:
    print(json.dumps({"health": health(served), "reflection": reflection(served), "csds": client_status(served)}))
