"""An array is put into the object store by one actor and summed by another."""

import time

import benchcopies
import ray
from benchprogram import parameters, report


@ray.remote(num_cpus=0)
class Maker:
    def make(self, megabytes):
        array = benchcopies.source(megabytes)
        copying, putting, again = benchcopies.side_by_side(array, ray.put)
        began = time.monotonic()
        return copying, putting, again, began, [ray.put(array)]


@ray.remote(num_cpus=0)
class Summer:
    def sum(self, refs):
        began = time.monotonic()
        value = ray.get(refs[0])
        opening = time.monotonic() - began
        found = float(value.sum())
        return opening, found, time.monotonic()


ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
maker, summer = Maker.remote(), Summer.remote()
copying, putting, again, began, refs = ray.get(maker.make.remote(parameters["megabytes"]))
opening, found, ended = ray.get(summer.sum.remote(refs))
report(copying=copying, putting=putting, again=again, opening=opening, whole=ended - began, found=found)
ray.shutdown()
