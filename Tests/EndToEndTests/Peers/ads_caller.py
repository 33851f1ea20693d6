"""Opens one ADS stream over TLS as a node, asks for one type, and prints what comes: `CODE details` or `response TYPE N`.

Usage: ads_caller.py PORT ROOT_CERT JSON
JSON: {"id", "namespace", "service_account", "token", "certificate", "key", "type", "names"}; all but id are optional.
"""
import json
import sys
import threading

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

port, root, what = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])


def read(name):
    return open(what[name], "rb").read() if name in what else None


credentials = grpc.ssl_channel_credentials(open(root, "rb").read(), read("key"), read("certificate"))
channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, [("grpc.ssl_target_name_override", "localhost")])
node = base_pb2.Node(id=what["id"], user_agent_name="ads_caller")
if "namespace" in what:
    node.metadata["NAMESPACE"] = what["namespace"]
    node.metadata["SERVICE_ACCOUNT"] = what["service_account"]
metadata = [("authorization", f"Bearer {what['token']}")] if "token" in what else []
request = discovery_pb2.DiscoveryRequest(
    node=node, type_url=what.get("type", "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"),
    resource_names=what.get("names", ["default"]))
done = threading.Event()


def requests():
    """Stays open, as a proxy's stream does."""
    yield request
    done.wait(10)


stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
try:
    for response in stub.StreamAggregatedResources(requests(), metadata=metadata, timeout=8):
        print("response", response.type_url.split(".")[-1], len(response.resources), flush=True)
        break
except grpc.RpcError as error:
    print(error.code().name, error.details(), flush=True)
finally:
    done.set()
