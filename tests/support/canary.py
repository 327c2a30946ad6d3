"""A service on loopback that counts its connections."""

import socket
import threading


class Canary:
    """A service on loopback to which nothing may connect."""

    def __init__(self) -> None:
        self.hits = 0
        self.listening = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self.listening.accept()
            except OSError:
                return
            self.hits += 1
            line.close()
