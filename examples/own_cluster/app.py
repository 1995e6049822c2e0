"""A work that asks for a machine of a cluster by name."""

import lightning as L

class LitWorker(L.LightningWork):
    def run(self):
        print("ANY python code can run here")

compute = L.CloudCompute('gpu', clusters=['cluster-A'])
app = L.LightningApp(LitWorker(cloud_compute=compute))
