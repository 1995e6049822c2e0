"""Components organize any code: a model server in C++, compiled and served by one work, tested by another."""

# app.py
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import lightning as L

SOURCE = Path(__file__).with_name('model_server.cpp')

class ModelServer(L.LightningWork):
    def run(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, 'model_server')
            subprocess.run(['c++', '-O2', '-std=c++17', '-o', program, SOURCE], check=True)
            print('MODEL SERVER: compiled')
            with subprocess.Popen([program, self.host, str(self.port)]) as server:
                try:
                    server.wait()
                finally:
                    server.terminate()

class LoadTest(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.requests_per_second = 0.0

    def run(self, url):
        start, good = time.perf_counter(), 0
        for x in range(500):
            with urlopen(f'{url}/predict?x={x}') as answer:
                good += float(answer.read()) == 3 * x + 1
        self.requests_per_second = round(500 / (time.perf_counter() - start))
        print(f'LOAD TEST: {good} of 500 answers are right, {self.requests_per_second} a second')

class Organizer(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.server = ModelServer(parallel=True)
        self.load_test = LoadTest()

    def run(self):
        self.server.run()

        # the url is filled once the server answers
        if self.server.url:
            self.load_test.run(self.server.url)
            self.stop("the load test is done")

app = L.LightningApp(Organizer())
