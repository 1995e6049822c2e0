"""Components share a folder by its name: two works put files there, a third one takes them, the flow looks in."""

# app.py
from pathlib import Path

from lightning.app import LightningApp, LightningFlow, LightningWork
from lightning.app.storage import Drive


class Counter(LightningWork):
    def __init__(self, text: str, name: str) -> None:
        super().__init__(parallel=True)
        self.text = text
        self.file = f"counts/{name}.txt"
        self.drive = Drive("lit://counts", root_folder=f"work/{name}")

    def run(self):
        file = Path(self.drive.root_folder, self.file)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{len(self.text.split())}\n")
        self.drive.put(self.file)
        print(f"COUNTER: {self.file} is in the drive")


class Sum(LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.drive = Drive("lit://counts", root_folder="work/sum")

    def run(self):
        for file in ("counts/first.txt", "counts/second.txt"):
            self.drive.get(file, timeout=60)  # waits until a counter has put it
        counts = [int(file.read_text()) for file in sorted(Path("work/sum/counts").iterdir())]
        print(f"SUM: {' + '.join(map(str, counts))} = {sum(counts)} words")


class Words(LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.first = Counter("the quick brown fox", "first")
        self.second = Counter("jumps over the lazy dog", "second")
        self.sum = Sum()

    def run(self):
        self.first.run()
        self.second.run()
        self.sum.run()
        print(f"FLOW: the drive has {Drive('lit://counts').list()}")
        self.stop()


app = LightningApp(Words())
