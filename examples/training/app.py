"""A real training, small: its loss is live in the flow, and each better checkpoint is deployed by another work."""

# app.py
import torch
from lightning.app import LightningApp, LightningFlow, LightningWork
from lightning.app.storage import Path, Payload


class Train(LightningWork):
    def __init__(self) -> None:
        super().__init__(parallel=True)
        self.loss = None
        self.best = None
        self.samples = None

    def run(self, epochs):
        torch.manual_seed(0)
        x = torch.linspace(-3, 3, 2000).unsqueeze(1)
        y = torch.sin(x)
        self.samples = Payload((x, y))  # 16 kB of tensors: a pointer to them
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        best = float("inf")
        for epoch in range(1, epochs + 1):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            self.loss = loss.item()
            if epoch % 100 == 0 and self.loss < best:
                best = self.loss
                checkpoint = Path("lit://sine.pt")
                torch.save(model.state_dict(), checkpoint)
                self.best = checkpoint  # as it is now: whoever opens it sees all of it
                print(f"TRAIN: epoch {epoch}, a better checkpoint")


class Deploy(LightningWork):
    def __init__(self) -> None:
        super().__init__(parallel=True)

    def run(self, checkpoint, samples):
        model = network()
        model.load_state_dict(torch.load(checkpoint))
        x, y = samples.value
        with torch.no_grad():
            error = (model(x) - y).abs().mean().item()
        print(f"DEPLOY: the model is off by {error:.2f}")


class Training(LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.train = Train()
        self.deploy = Deploy()
        self.losses = []

    def run(self):
        self.train.run(epochs=400)
        if self.train.loss is not None and self.train.loss not in self.losses:
            self.losses.append(self.train.loss)  # live, each of them
        if self.train.best is not None:
            self.deploy.run(self.train.best, self.train.samples)
        if self.train.has_succeeded and self.deploy.num_successes == 4:
            print(f"FLOW: {len(self.losses)} losses, from {self.losses[0]:.2f} to {self.losses[-1]:.4f}")
            self.stop()


def network():
    return torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))


app = LightningApp(Training())
