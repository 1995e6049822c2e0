"""Two works and a flag: one raises it with every message, the flow resets it when the other has read it."""

# app.py
import time

import lightning as L

class Sender(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.message = None
        self.flag = False

    def run(self):
        for number in range(1, 6):
            self.message = f'message {number}'
            self.flag = True
            while self.flag:
                time.sleep(0.01)  # the flow resets the flag while this runs
            print(f'SENDER: message {number} has arrived')

class Receiver(L.LightningWork):
    def run(self, message):
        print(f'RECEIVER: {message}')

class Post(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.sender = Sender()
        self.receiver = Receiver()

    def run(self):
        self.sender.run()
        if self.sender.flag:
            self.receiver.run(self.sender.message)
            self.sender.flag = False

app = L.LightningApp(Post())
