"""The whole workflow moves with one name: the cluster its works run on."""

# app.py
import lightning as L

class LitWorker(L.LightningWork):
    def run(self, message):
        print(message)

class LitWorkflow(L.LightningFlow):
    # the page this comes from has an unused parameter here: __init__(self, cloud)
    def __init__(self) -> None:
        super().__init__()

        # run on cluster-A  OR  cluster-B
        cloud = 'cluster-A'
        comp_A = L.CloudCompute('cpu', clouds=[cloud])
        comp_B = L.CloudCompute('cpu', clouds=[cloud])
        self.work_A = LitWorker(cloud_compute=comp_A)
        self.work_B = LitWorker(cloud_compute=comp_B)

    def run(self):
        self.work_A.run("running code A on a CPU machine")
        self.work_B.run("running code B on a GPU machine")

app = L.LightningApp(LitWorkflow())
