"""From nothing to an actor's first line."""

import os
import time

import ray


@ray.remote
class Hello:
    def run(self):
        print(f'BENCH {{"pid": {os.getpid()}}}', flush=True)


ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
ray.get(Hello.remote().run.remote())
time.sleep(2)  # the line comes to the terminal later than the answer comes here
ray.shutdown()
