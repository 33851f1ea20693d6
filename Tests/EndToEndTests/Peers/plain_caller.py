"""Calls /test.Greeter/Name in plaintext and prints who answered, one line a call.

Usage: plain_caller.py ADDRESS:PORT AUTHORITY SECONDS
"""
import sys
import time

import grpc

place, authority, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
channel = grpc.insecure_channel(place, [("grpc.default_authority", authority)])
call = channel.unary_unary("/test.Greeter/Name")
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        print(call(b"", timeout=5).decode(), flush=True)
    except grpc.RpcError as error:
        print(f"error {error.code().name} {error.details()}", flush=True)
    time.sleep(0.1)
