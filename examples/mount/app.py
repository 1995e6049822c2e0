"""A work reads files that lie elsewhere as if they were on its machine."""

# app.py
import os

from lightning.app import CloudCompute, LightningApp, LightningWork
from lightning.app.storage import Mount

# A folder beside this file; of a bucket it would be "s3://bucket/images/".
images = Mount(source=os.path.join(os.path.dirname(__file__), "images"), mount_path="./mounted")


class Reader(LightningWork):
    def __init__(self) -> None:
        super().__init__(cloud_compute=CloudCompute("cpu", mounts=images))

    def run(self):
        for name in sorted(os.listdir("mounted")):
            with open(os.path.join("mounted", name)) as file:
                print(f"READER: {name} has {len(file.read().split())} numbers")


app = LightningApp(Reader())
