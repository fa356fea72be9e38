"""Floor 5: telling the service manager that started us how we are (sd_notify(3))."""

import os
import socket


def notify(*lines: str) -> None:
    """Send lines such as READY=1 as one datagram; nothing happens where no service manager asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address)
        except OSError:
            pass  # a manager that is gone cannot be told
