"""An actor that has run for a while raises; the driver asks for its answer."""

import time

import ray


@ray.remote(num_cpus=0)
class Faulty:
    def run(self):
        time.sleep(0.5)
        raise ValueError(f"raised at {time.monotonic()}")


ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
ray.get(Faulty.remote().run.remote())
