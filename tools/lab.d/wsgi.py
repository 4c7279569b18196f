"""A WSGI program under uwsgi, as Debian's service units run Keystone and Neutron."""

import time


def launch(node, service, addresses, *program):
    """Starts it on HTTP addresses (IP:PORT); `program` are uwsgi's options that say what to run."""
    sockets = [word for address in addresses for word in ("--http-socket", address)]
    # Without "Connection: close" some POSTs succeed while the client sees its connection reset. Neutron's workers agree on which of
    # them starts something by the common start time.
    node.launch(
        service, "uwsgi", "--plugin", "python3", *sockets, *program, "--master", "--lazy-apps", "--processes", "2", "--threads",
        "1", "--enable-threads", "--die-on-term", "--buffer-size", "65535", "--post-buffering", "65536",
        "--add-header", "Connection: close", "--set", f"start-time={int(time.time())}",
    )
