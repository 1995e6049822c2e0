"""A file and a folder that one work makes are opened by another, wherever it runs."""

# app.py
import os

from lightning.app import LightningApp, LightningFlow, LightningWork


class Source(LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.text = "lit://boring.txt"  # such a string becomes a lightning.app.storage.Path
        self.parts = "lit://parts"

    def run(self, times: int):
        with open(self.text, "w") as file:
            file.write("hello " * times)
        os.makedirs(self.parts, exist_ok=True)
        for number in range(times):
            (self.parts / f"{number}.txt").write_text("hello\n")
        print(f"SOURCE: wrote {times} of each")


class Destination(LightningWork):
    def run(self, text, parts):
        with open(text) as file:
            print(f"DESTINATION: {text.name} of {text.origin_name} has {len(file.read().split())} words")
        print(f"DESTINATION: {parts.name} has {', '.join(sorted(os.listdir(parts)))}")


class Files(LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.source = Source()
        self.destination = Destination()

    def run(self):
        self.source.run(3)
        self.destination.run(self.source.text, self.source.parts)
        self.stop()


app = LightningApp(Files())
