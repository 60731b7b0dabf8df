"""Which ports of a host others reach: by what the system says that it listens on, and by trying every one."""

import socket
import sys
from ipaddress import ip_address
from pathlib import Path

LISTENING = "0A"  # the system's word for it in /proc/net/tcp


def listening(pid):
    """Ports, in the network of process `pid`, that something listens on at any address but the loopback's."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in _lines(Path(f"/proc/{pid}/net/{name}"))]
    places = [row[1].split(":") for row in rows if row[3] == LISTENING]
    return {int(port, 16) for address, port in places if not loopback(address)}


def loopback(address):
    """Whether an address, in the system's hexadecimal words of four bytes, is one of the loopback's."""
    words = [address[i : i + 8] for i in range(0, len(address), 8)]
    known = ip_address(b"".join(bytes.fromhex(word)[::-1] for word in words))
    return (getattr(known, "ipv4_mapped", None) or known).is_loopback


def answering(address):
    """Ports at an address that accept a connection, of all that there can be."""
    return {port for port in range(1, 65536) if _accepts(address, port)}


def _accepts(address, port):
    with socket.socket() as attempt:
        attempt.settimeout(5)
        return attempt.connect_ex((address, port)) == 0


def _lines(table):
    return table.read_text().splitlines()[1:]


if __name__ == "__main__":
    sys.stdout.write(" ".join(map(str, answering(sys.argv[1]))))
