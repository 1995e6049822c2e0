"""Full cron syntax, here with a sixth field for seconds: every two seconds."""

# app.py
import lightning as L

class TrainComponent(L.LightningWork):
    def run(self, machine):
        print(f'TRAIN COMPONENT: training a model on {machine}')

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

        # five fields count minutes; the sixth, in front, counts seconds
        if self.schedule("*/2 * * * * *"):
            self.analyze.run("CPU machine 2")

app = L.LightningApp(WorkflowOrchestrator())
