"""Calls to a node's ports by somebody who knows Ray's protocols, and perhaps a token: `calls.py ADDRESS [TOKEN]`.

Reads lines `PORT PROTOCOL CALL`, where a call is a path of HTTP or a method of gRPC, and answers each with its status.
"""

import sys
from http.client import HTTPConnection

import grpc


def http(address, port, path, headers):
    connection = HTTPConnection(address, port, timeout=20)
    connection.request("GET", path, headers=headers)
    return connection.getresponse().status


def rpc(address, port, method, headers):
    """An empty message: whoever lets it pass may still find it wanting."""
    with grpc.insecure_channel(f"{address}:{port}") as channel:
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            call(b"", timeout=20, metadata=tuple(headers.items()))
        except grpc.RpcError as error:
            return error.code().name
        return "OK"


PROTOCOLS = {"http": http, "rpc": rpc}

if __name__ == "__main__":
    address, tokens = sys.argv[1], sys.argv[2:]
    headers = {"authorization": f"Bearer {tokens[0]}"} if tokens else {}
    for line in sys.stdin:
        port, protocol, call = line.split()
        sys.stdout.write(f"{PROTOCOLS[protocol](address, int(port), call, headers)}\n")
