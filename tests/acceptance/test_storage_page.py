"""The page on storage shows apps and a command: they are run as a user would run them, against a real S3 server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.conformance import places

from .conftest import RunApp

PAGE = Path(__file__).parents[2] / "docs" / "storage.md"


def section(title: str) -> str:
    """What the page says under a heading."""
    return re.split(r"^## ", PAGE.read_text().partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def sample(title: str) -> str:
    found = re.search(r"```python\n(.*?)```", section(title), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    with places.s3() as port:
        places.make_bucket(port)
        yield port


@pytest.fixture
def cloud(s3: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the server; apps know of it."""
    address = f"http://127.0.0.1:{s3}"
    for name, value in {**places.CLOUD, "AWS_ENDPOINT_URL_S3": address}.items():
        monkeypatch.setenv(name, value)
    return address


def test_a_payload_goes_from_one_work_to_another(run_app: RunApp, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(sample("Payload"))
    terminal = run_app("app.py")
    terminal.end(0)
    assert terminal.printed == ["499999500000"]


def test_a_file_goes_from_one_work_to_another(run_app: RunApp, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(sample("Path"))
    terminal = run_app("app.py")
    terminal.end(0)
    assert terminal.printed == ["weights"]


def test_the_calls_of_the_drive_do_what_the_page_says(run_app: RunApp, tmp_path: Path) -> None:
    lines = sample("Drive").splitlines()
    shown = [line.partition("#")[2].strip() for line in lines if ".list()" in line]
    work = "\n".join(f"        {line}" for line in lines).replace("drive.list()", "print(drive.list())")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.bin").write_text("1")
    (tmp_path / "app.py").write_text(
        f"import lightning as L\n\n\nclass Work(L.LightningWork):\n    def run(self):\n{work}\n\n\n"
        "app = L.LightningApp(Work())\n"
    )
    terminal = run_app("app.py")
    terminal.end(0)
    assert terminal.printed == shown


def test_a_mounted_bucket_is_seen_in_the_work(run_app: RunApp, tmp_path: Path, cloud: str) -> None:
    for name in ("one", "two"):
        put(f"{cloud}/bucket/images/{name}.png")
    (tmp_path / "app.py").write_text(sample("Mount"))
    terminal = run_app("app.py")
    terminal.end(0)
    assert terminal.printed == ["2"]
    assert not (tmp_path / "images").exists()


def test_the_command_puts_the_files_of_a_run_into_the_bucket(
    run_app: RunApp, tmp_path: Path, cloud: str
) -> None:
    (command,) = re.findall(r"```bash\n(.*?)\n```", section("Where it lies"))
    words = command.split()
    assert words[:4] == ["lightning", "run", "app", "app.py"]
    (tmp_path / "app.py").write_text(
        "import lightning as L\nfrom lightning.app.storage import Drive\n\n\n"
        "class Work(L.LightningWork):\n    def run(self):\n        open('a', 'w').write('1')\n"
        "        Drive('lit://data').put('a')\n\n\napp = L.LightningApp(Work())\n"
    )
    run_app("app.py", *words[4:]).end(0)
    (run,) = (tmp_path / ".lightning/runs").iterdir()
    listing = (
        urlopen(f"{cloud}/bucket?list-type=2&prefix=prefix/runs/{run.name}/drives/data/").read().decode()
    )
    assert re.findall(r"<Key>(.*?)</Key>", listing) == [f"prefix/runs/{run.name}/drives/data/a/=one"]
    assert not (run / "store").exists()


def put(url: str) -> None:
    request = Request(url, data=b"png", method="PUT")
    scope = "testing/20260101/us-east-1/s3/aws4_request"
    request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential={scope}")
    urlopen(request).close()
