"""One work is an app: it runs once, and the app ends."""

# app.py
# SINGLE WORKER
import lightning as L

class LitWorker(L.LightningWork):
    def run(self):
        print("ANY python code can run here")

# uses 1 cloud GPU (or your own hardware)
compute = L.CloudCompute('gpu')
app = L.LightningApp(LitWorker(cloud_compute=compute))
