# Sends and hears raw frames on one interface, for tests/it/datapath/probe.rs. One command per line: "send HEX", or "until MARK", which is
# answered with every mark seen up to that one, or with "timeout".
import os
import re
import socket
import sys

# One CPU: frames sent one after the other stay in their order.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
every_protocol = socket.htons(3)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every_protocol)
wire.bind((sys.argv[1], 0))
wire.settimeout(30)
print("ready", flush=True)
for line in sys.stdin:
    verb, argument = line.split()
    if verb == "send":
        wire.send(bytes.fromhex(argument))
        print("sent", flush=True)
        continue
    seen = []
    while argument not in seen:
        try:
            frame, where = wire.recvfrom(65536)
        except socket.timeout:
            seen = ["timeout"]
            break
        if where[2] != socket.PACKET_OUTGOING:
            seen += [mark.decode() for mark in re.findall(rb"<mark-\d{6}>", frame)]
    print(" ".join(seen), flush=True)
