"""Calls an xds:/// name through gRPC's own xDS client and prints who answered, one line a call.

Usage: GRPC_XDS_BOOTSTRAP=FILE xds_caller.py NAME SECONDS [secure]
"""
import sys
import time

import grpc

name, seconds = sys.argv[1], float(sys.argv[2])
if sys.argv[3:] == ["secure"]:
    credentials = grpc.xds_channel_credentials(grpc.ssl_channel_credentials())
    channel = grpc.secure_channel(f"xds:///{name}", credentials)
else:
    channel = grpc.insecure_channel(f"xds:///{name}")
call = channel.unary_unary("/test.Greeter/Name")
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        print(call(b"", timeout=5, wait_for_ready=True).decode(), flush=True)
    except grpc.RpcError as error:
        print(f"error {error.code().name} {error.details()}", flush=True)
    time.sleep(0.02)
