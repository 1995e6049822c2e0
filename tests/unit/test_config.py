"""Where settings come from, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning.app import config
from lightning.app.config import Config, Kept, Resources
from lightning.app.errors import NotAllowedError, UsageError


def write(folder: Path, text: str, name: str = "lightning.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text)
    return file


class TestWhereItIsFound:
    def test_without_a_file_everything_has_a_default(self, tmp_path: Path) -> None:
        found = Config.load(tmp_path, {"TZ": "Asia/Tokyo"})
        assert (found.timezone, dict(found.compute), found.file) == ("Asia/Tokyo", {}, None)

    def test_the_nearest_file_above_the_app_counts_alone(self, tmp_path: Path) -> None:
        write(tmp_path, "timezone = 'Asia/Tokyo'\n[compute.big]\ncpus = 64")
        near = write(tmp_path / "project", "timezone = 'Europe/Berlin'")
        found = Config.load(tmp_path / "project" / "apps" / "one", {})
        assert (found.timezone, dict(found.compute), found.file) == ("Europe/Berlin", {}, near)

    def test_pyproject_counts_where_it_has_our_table(self, tmp_path: Path) -> None:
        write(tmp_path, "[tool.lightning]\ntimezone = 'Asia/Tokyo'", "pyproject.toml")
        write(tmp_path / "project", "[project]\nname = 'x'\n[tool.ruff]", "pyproject.toml")
        assert Config.load(tmp_path / "project", {}).timezone == "Asia/Tokyo"

    def test_our_own_file_goes_before_pyproject_beside_it(self, tmp_path: Path) -> None:
        write(tmp_path, "[tool.lightning]\ntimezone = 'Asia/Tokyo'", "pyproject.toml")
        write(tmp_path, "timezone = 'Europe/Berlin'")
        assert Config.load(tmp_path, {}).timezone == "Europe/Berlin"

    def test_the_environment_goes_before_the_file(self, tmp_path: Path) -> None:
        write(tmp_path, "timezone = 'Europe/Berlin'")
        assert Config.load(tmp_path, {"LIGHTNING_TIMEZONE": "Asia/Tokyo"}).timezone == "Asia/Tokyo"
        assert Config.load(tmp_path, {"LIGHTNING_TIMEZONE": ""}).timezone == "Europe/Berlin"


class TestJournal:
    @pytest.mark.parametrize("turns", [0, 1, 250_000])
    def test_how_much_history_stays_is_a_number_of_turns(self, tmp_path: Path, turns: int) -> None:
        assert Config.load(tmp_path, {}).history == 100_000
        write(tmp_path, f"[journal]\nhistory = {turns}")
        assert Config.load(tmp_path, {}).history == turns

    @pytest.mark.parametrize("value", ["-1", "1.5", "true", "'all'", "[]"])
    def test_what_is_no_number_of_turns_is_refused(self, tmp_path: Path, value: str) -> None:
        file = write(tmp_path, f"[journal]\nhistory = {value}")
        with pytest.raises(UsageError, match=f"{file}: journal.history must be a whole number of turns"):
            Config.load(tmp_path, {})

    def test_a_misspelled_key_is_refused_with_a_guess(self, tmp_path: Path) -> None:
        write(tmp_path, "[tool.lightning.journal]\nhistroy = 5", "pyproject.toml")
        with pytest.raises(UsageError, match=r"tool\.lightning\.journal\.histroy is not.*'history'"):
            Config.load(tmp_path, {})

    def test_the_table_must_be_one(self, tmp_path: Path) -> None:
        write(tmp_path, "journal = 5")
        with pytest.raises(UsageError, match="journal must be a table"):
            Config.load(tmp_path, {})


class TestTimeZone:
    @pytest.mark.parametrize("name", ["Asia/Tokyo", ":Asia/Tokyo"])
    def test_the_callers_zone_is_the_local_one(self, name: str) -> None:
        assert config.local_timezone({"TZ": name}) == "Asia/Tokyo"

    def test_a_rule_without_a_name_falls_back_to_the_machines(self) -> None:
        assert config.local_timezone({"TZ": "XYZ-3"}) == config.local_timezone({})

    def test_the_local_zone_has_a_name_that_the_kernel_reads(self) -> None:
        from lightning.app.kernel.schedule import Schedule

        assert Schedule.parse("hourly", config.local_timezone()).next_after(0.0) is not None


class TestCompute:
    def test_a_name_of_ones_own(self, tmp_path: Path) -> None:
        write(tmp_path, "[compute.trainer]\ncpus = 8\ngpus = 2\nmemory = '64GiB'\naccelerator = 'A100'")
        assert Config.load(tmp_path, {}).compute == {"trainer": Resources(8, 2, 64 * 1024**3, "A100")}

    @pytest.mark.parametrize(
        ("given", "size"),
        [(16, 16_000_000_000), (0.5, 500_000_000), ("512MB", 512_000_000), ("1.5 gib", 1_610_612_736)],
    )
    def test_memory_is_gigabytes_or_says_its_unit(self, given: object, size: int) -> None:
        assert config.memory(given, "memory") == size

    @pytest.mark.parametrize("given", ["", "much", "16GX", 0, "0GB", -1, True, None, float("nan"), [1]])
    def test_memory_that_cannot_be_read_says_how_to_write_it(self, given: object) -> None:
        with pytest.raises(UsageError, match="memory must be gigabytes, such as 16"):
            config.memory(given, "memory")


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("timzone = 'UTC'", r"lightning\.toml: timzone is not a setting \(did you mean 'timezone'\?\)"),
            ("timezone = 3", r"lightning\.toml: timezone must be the name of a time zone"),
            ("timezone = 'Europe/Berln'", "there is no time zone .*did you mean 'Europe/Berlin'"),
            ("timezone = 'Europe'", "there is no time zone 'Europe'"),
            ("compute = 3", r"lightning\.toml: compute must be a table of settings, not 3"),
            ("[compute]\nbig = 3", r"compute\.big must be a table of settings, not 3"),
            ("[compute.big]\ncpu = 3", r"compute\.big\.cpu is not a setting \(did you mean 'cpus'\?\)"),
            ("[compute.big]\ncpus = 0", r"compute\.big\.cpus must be a number above 0"),
            ("[compute.big]\ncpus = true", r"compute\.big\.cpus must be a number above 0"),
            ("[compute.big]\ngpus = 0.5", r"compute\.big\.gpus must be a whole number"),
            ("[compute.big]\nmemory = 'much'", r"compute\.big\.memory must be gigabytes"),
            ("[compute.big]\naccelerator = 3", r"compute\.big\.accelerator must be the name"),
            ("timezone = UTC", r"lightning\.toml is not valid TOML: .*line 1"),
        ],
    )
    def test_a_wrong_setting_names_its_file_and_key(self, tmp_path: Path, text: str, said: str) -> None:
        file = write(tmp_path, text)
        with pytest.raises(UsageError, match=said) as refusal:
            Config.load(tmp_path, {})
        assert str(refusal.value).startswith(str(file))

    def test_a_key_of_pyproject_is_named_with_its_table(self, tmp_path: Path) -> None:
        write(tmp_path, "[tool.lightning]\ntimzone = 'UTC'", "pyproject.toml")
        with pytest.raises(UsageError, match=r"pyproject\.toml: tool\.lightning\.timzone is not"):
            Config.load(tmp_path, {})

    def test_our_table_in_pyproject_must_be_one(self, tmp_path: Path) -> None:
        write(tmp_path, "[tool]\nlightning = 1", "pyproject.toml")
        with pytest.raises(UsageError, match=r"tool\.lightning must be a table"):
            Config.load(tmp_path, {})

    def test_a_wrong_variable_names_itself(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="LIGHTNING_TIMEZONE: there is no time zone 'Mars'"):
            Config.load(tmp_path, {"LIGHTNING_TIMEZONE": "Mars"})

    def test_bytes_that_are_no_text_name_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "lightning.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(UsageError, match=r"lightning\.toml is not valid TOML"):
            Config.load(tmp_path, {})

    def test_a_file_that_cannot_be_read_names_itself(self, tmp_path: Path) -> None:
        (tmp_path / "lightning.toml").symlink_to("lightning.toml")
        with pytest.raises(NotAllowedError, match=r"cannot read the configuration .*lightning\.toml"):
            Config.load(tmp_path, {})


class TestRuns:
    def test_what_stays_of_the_past_has_defaults(self, tmp_path: Path) -> None:
        assert Config.load(tmp_path, {}).runs == Kept(keep=100, keep_days=90, output=64_000_000)

    def test_what_stays_of_the_past_can_be_said(self, tmp_path: Path) -> None:
        write(tmp_path, "[runs]\nkeep = 10\nkeep_days = 7.5\noutput = '1GB'")
        assert Config.load(tmp_path, {}).runs == Kept(10, 7.5, 1_000_000_000)
        write(tmp_path, "[runs]\nkeep = 'all'\nkeep_days = 'all'\noutput = 0")
        assert Config.load(tmp_path, {}).runs == Kept(None, None, 0)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("runs = 3", r"lightning\.toml: runs must be a table of settings, not 3"),
            ("[runs]\nkep = 3", r"runs\.kep is not a setting \(did you mean 'keep'\?\)"),
            ("[runs]\nkeep = 0", r"runs\.keep must be a number of runs, 1 or more, or 'all', not 0"),
            ("[runs]\nkeep_days = true", r"runs\.keep_days must be a number of days above 0, or 'all'"),
            ("[runs]\noutput = 'much'", r"runs\.output must be gigabytes, such as 16, or a size"),
            ("[runs]\noutput = false", r"runs\.output must be"),
        ],
    )
    def test_a_wrong_setting_of_runs_names_itself(self, tmp_path: Path, text: str, said: str) -> None:
        write(tmp_path, text)
        with pytest.raises(UsageError, match=said):
            Config.load(tmp_path, {})
