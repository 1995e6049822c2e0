"""Code your own auto-scaling: the flow adds and removes servers as the load goes up and down."""

# app.py
import time
from math import ceil

import lightning as L
from lightning.app.structures import List

REQUESTS_PER_SERVER = 200

class Server(L.LightningWork):
    def __init__(self, number):
        super().__init__(parallel=True, cloud_compute=L.CloudCompute('cpu'))
        self.number = number
        self.serving = False

    def run(self):
        print(f'SERVER {self.number}: serving')
        self.serving = True
        while True:
            time.sleep(1.0)  # pretend to answer requests, until stopped

    def on_exit(self):
        print(f'SERVER {self.number}: leaving')

class Traffic(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.load = 0
        self.servers = 0

    def run(self):
        # pretend that a day goes by: quiet, busy, less busy, quiet
        for load in [100, 500, 300, 100]:
            self.load = load
            while self.servers != ceil(load / REQUESTS_PER_SERVER):
                time.sleep(0.01)  # the flow writes self.servers while this runs
            print(f'TRAFFIC: {load} requests a second, servers: {self.servers}')

class AutoScaler(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.traffic = Traffic()
        self.servers = List()

    def run(self):
        self.traffic.run()
        wanted = ceil(self.traffic.load / REQUESTS_PER_SERVER)
        while len(self.servers) < wanted:
            self.servers.append(Server(len(self.servers) + 1))
        while len(self.servers) > wanted:
            self.servers.pop()
        for server in self.servers:
            server.run()
        self.traffic.servers = sum(server.serving for server in self.servers)

app = L.LightningApp(AutoScaler())
