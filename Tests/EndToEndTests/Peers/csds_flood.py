"""Asks for the status of clients again and again in one stream, while the server is held: it finds all of it at once.
Prints how many requests were sent, and how the call ended.

Usage: csds_flood.py TARGET PROCESS
"""
import os
import queue
import signal
import sys
import time

import grpc
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc

target, process = sys.argv[1], int(sys.argv[2])
stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(grpc.insecure_channel(target))
requests, taken = queue.Queue(), 0


def ask():
    global taken
    while True:
        request = requests.get()
        taken += 1
        yield request


requests.put(csds_pb2.ClientStatusRequest())
call = stub.StreamClientStatus(ask(), timeout=30)
next(call)
os.kill(process, signal.SIGSTOP)
try:
    for _ in range(40):
        requests.put(csds_pb2.ClientStatusRequest())
    # The next request is taken when the one before was written.
    while not requests.empty():
        time.sleep(0.01)
    time.sleep(0.2)
finally:
    os.kill(process, signal.SIGCONT)
try:
    for _ in call:
        pass
except grpc.RpcError as error:
    print(taken, error.code().name, error.details(), flush=True)
