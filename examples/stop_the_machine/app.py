"""Save money: the GPU machine is given back when its work is done, then the second work starts."""

# app.py
import lightning as L

class TrainComponent(L.LightningWork):
    def run(self, machine):
        print(f'TRAIN COMPONENT: training a model on {machine}')

    def on_exit(self):
        print('TRAIN COMPONENT: the machine is given back')

class AnalyzeComponent(L.LightningWork):
    def run(self, machine):
        print(f'ANALYZE COMPONENT: analyzing the model on {machine}')

class WorkflowOrchestrator(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.train = TrainComponent(cloud_compute=L.CloudCompute('gpu'))
        self.analyze = AnalyzeComponent(cloud_compute=L.CloudCompute('cpu'))

    def run(self):
        self.train.run("GPU machine 1")

        # stop() returns at once; the status says when the machine is gone
        self.train.stop()
        if self.train.status.STOPPED:
            self.analyze.run("CPU machine 2")

app = L.LightningApp(WorkflowOrchestrator())
