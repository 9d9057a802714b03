"""The command line without a model: scan, documents and refactor."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from faked_pipeline import Pipeline, call, one_line
from samples import AUDIT, MODEL, NO_PLAN, PLAN

from paramaudit import __version__, audit
from paramaudit.errors import CaptureError, InputError, NotAuditableError, TargetError, UnsafeTargetError
from paramaudit.records import Tier

# --- without any work ---------------------------------------------------------------------------


def test_help_and_usage_errors_do_not_wait_for_torch() -> None:
    code = "import sys, paramaudit.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_shown() -> None:
    result = call("--version")
    assert (result.exit_code, result.stdout) == (0, f"paramaudit {__version__}\n")


@pytest.mark.parametrize("name", ["scan", "refactor", "verify", "replay", "compare", "operators", "explain"])
def test_every_command_has_help(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0
    assert "--format" in result.stdout
    assert ("--device" in result.stdout) is (name not in ("replay", "operators", "explain"))


@pytest.mark.parametrize("args", [["scan"], ["verify", "a"], ["nonsense"], ["scan", "a", "--seed", "x"]])
def test_usage_errors_exit_2(args: list[str], pipeline: Pipeline) -> None:
    result = call(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr
    assert not pipeline.opened


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--format", "json", "--format", "yaml"], "unknown format 'yaml'"),
        (["--device", "tpu"], "device: 'tpu' is not one of cpu, cuda"),
        (["--mode", "fast"], "mode: 'fast' is not one of eval, train"),
        (["--allow", "refuted"], "allow: 'refuted' is not one of"),
        (["--tolerance", "-1"], "tolerance: -1.0"),
        (["--tolerance", "nan"], "tolerance: nan"),
        (["--seed", "-1"], "seed: -1"),
        (["--static", "batch"], "static: 'batch' is not NAME=SIZE"),
        (["--static", "batch=0"], "static: 'batch=0'"),
        (["--static", "b=1", "--static", "b=2"], "'b' has two sizes, 1 and 2"),
        (["--static", "b=1", "--dynamic", "b"], "'b' cannot be both"),
        (["-o", "none/x.txt"], "cannot be written"),
        (["-o", "."], "cannot be written"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(
    args: list[str], says: str, pipeline: Pipeline
) -> None:
    one_line(call("scan", "net.py:build", *args), 2, says)
    assert not pipeline.opened
    assert not Path(".paramaudit").exists()


# --- scan ---------------------------------------------------------------------------------------


def test_scan_prints_a_table_and_saves_the_audit(pipeline: Pipeline) -> None:
    result = call("scan", "net.py:build", "-q")
    assert result.exit_code == 0
    assert "1,200 -> 300 parameters" in result.stdout
    assert result.stderr == ""
    assert pipeline.opened == [("net.py:build", {"inputs": (), "factory": None, "trust": False})]
    assert pipeline.options == audit.Options()
    saved = json.loads(Path(".paramaudit/audit.json").read_text(encoding="utf-8"))
    assert saved == json.loads(call("scan", "net.py:build", "--format", "json").stdout)
    assert [path.name for path in Path(".paramaudit").iterdir()] == ["audit.json"]


def test_stdout_holds_the_document_alone(pipeline: Pipeline) -> None:
    def trouble() -> None:
        print("a model that prints")  # noqa: T201
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a model\nthat warns", UserWarning, stacklevel=1)

    pipeline.trouble = trouble
    result = call("scan", "net.py:build", "--format", "json", "-v")
    assert json.loads(result.stdout)["schema"] == "paramaudit/audit/1"
    lines = result.stderr.splitlines()
    assert lines[:2] == ["a model that prints", "warning: a model that warns (UserWarning)"]
    assert lines[2].startswith("stages: load ")
    assert ", prove " in lines[2]
    assert lines[3].startswith("operators looked for ")
    assert lines[4] == "wrote .paramaudit/audit.json"


def test_every_option_reaches_the_pipeline(pipeline: Pipeline) -> None:
    call(
        *("scan", "net.pt", "--device", "cuda", "--mode", "train", "--static", "t=16", "--static", "k=2"),
        *("--dynamic", "batch", "--read", "a", "--read", "b", "--rules", "r.toml", "--select", "rdft"),
        *("--ignore", "front:dct", "--tolerance", "0.5", "--allow", "tested", "--allow", "bounded"),
        *("--trust", "--factory", "net.py:build", "--inputs", "float32[b,2]", "--inputs", "int64[b]"),
        *("--seed", "7"),
    )
    inputs = ["float32[b,2]", "int64[b]"]
    [(target, how)] = pipeline.opened
    assert target == "net.pt"
    assert {**how, "inputs": list(how["inputs"])} == {
        "inputs": inputs,
        "factory": "net.py:build",
        "trust": True,
    }
    assert pipeline.options == audit.Options(
        mode="train",
        device="cuda",
        static={"t": 16, "k": 2},
        dynamic=("batch",),
        read=("a", "b"),
        rules=Path("r.toml"),
        select=("rdft",),
        ignore=("front:dct",),
        tolerance=0.5,
        allow=frozenset({Tier.TESTED, Tier.BOUNDED}),
        seed=7,
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TargetError("net.pt: missing"), 2),
        (UnsafeTargetError("net.pt wants to run os.system;\n use --trust", ("os.system",)), 2),
        (InputError("no inputs"), 2),
        (NotAuditableError("holds no numbers"), 3),
        (CaptureError("cannot be exported:\n  data-dependent\x1b[31m"), 3),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(error: Exception, code: int, pipeline: Pipeline) -> None:
    pipeline.error = error
    for name in ("table", "json"):
        result = call("scan", "net.pt", "--format", name)
        one_line(result, code, " ".join(str(error).split())[:12])
        assert "\x1b" not in result.stderr
    assert not Path(".paramaudit").exists()


def test_an_unexpected_error_is_one_line_and_a_traceback_on_request(pipeline: Pipeline) -> None:
    pipeline.error = RuntimeError("broken\nin two")
    result = call("scan", "net.pt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "internal error: RuntimeError: broken in two; please report; -v shows the traceback\n"
    )
    assert "Traceback" in call("scan", "net.pt", "-v").stderr


# --- documents ----------------------------------------------------------------------------------


def test_several_formats_come_in_order(pipeline: Pipeline) -> None:  # noqa: ARG001
    text = call("scan", "net.pt", "--format", "markdown", "--format", "json", "--format", "json").stdout
    page, _, rest = text.partition("\n{\n")
    assert page.startswith("## Audit of net.py:build")
    assert json.loads("{" + rest)["schema"] == "paramaudit/audit/1"


def test_a_document_goes_to_a_file(pipeline: Pipeline) -> None:  # noqa: ARG001
    result = call("scan", "net.pt", "--format", "json", "-o", "out.txt")
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(Path("out.txt").read_text(encoding="utf-8"))["schema"] == "paramaudit/audit/1"


@pytest.mark.parametrize("output", ["out", "out.json", "out.txt"])
def test_several_formats_go_to_a_file_each(output: str, pipeline: Pipeline) -> None:  # noqa: ARG001
    result = call("scan", "net.pt", "--format", "json", "--format", "markdown", "-o", output, "-q")
    assert (result.exit_code, result.output) == (0, "")
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert Path("out.md").read_text(encoding="utf-8").startswith("## Audit")
    assert sorted(path.name for path in Path().iterdir()) == [".paramaudit", "out.json", "out.md"]


def test_no_document_overwrites_the_model(pipeline: Pipeline) -> None:
    Path("net.pt").write_text("model", encoding="utf-8")
    Path("net.py").write_text("model", encoding="utf-8")
    Path("folder").mkdir()
    Path("folder/model.safetensors").write_text("model", encoding="utf-8")
    one_line(call("scan", "net.pt", "-o", "net.pt"), 2, "would overwrite")
    one_line(call("scan", "net.py:build", "-o", "./net.py"), 2, "would overwrite")
    one_line(call("verify", "x", "net.pt", "--certificate", "net.pt"), 2, "would overwrite")
    one_line(call("refactor", "net.pt", "--apply", "--save", "net.pt"), 2, "would overwrite")
    one_line(
        call("refactor", "folder", "--apply", "--save", "folder/model.safetensors"), 2, "would overwrite"
    )
    assert not pipeline.opened


class Terminal:
    """Patches stdout's answer to whether it is a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("CI", "true")  # no progress


def test_colour_is_for_terminals_and_no_color_is_honoured(
    pipeline: Pipeline,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "\x1b" not in call("scan", "net.pt").stdout
    Terminal(monkeypatch)
    assert "\x1b[" in call("scan", "net.pt").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in call("scan", "net.pt").stdout


def test_progress_is_on_stderr_of_a_terminal_only(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    Terminal(monkeypatch)
    assert call("scan", "net.pt").stderr == "wrote .paramaudit/audit.json\n"
    monkeypatch.delenv("CI")
    monkeypatch.setenv("NO_COLOR", "1")
    result = call("scan", "net.pt", "--format", "json")
    assert json.loads(result.stdout)
    assert "\r" in result.stderr or "\x1b[" in result.stderr
    pipeline.error = TargetError("broken")
    assert call("scan", "net.pt", "-q").stderr == "error: broken\n"


def test_a_state_folder_that_cannot_be_is_one_line(pipeline: Pipeline) -> None:  # noqa: ARG001
    Path(".paramaudit").touch()
    one_line(call("scan", "net.pt"), 2, "cannot be written")
    one_line(call("refactor"), 2, "cannot be read")


# --- refactor -----------------------------------------------------------------------------------


def test_refactor_plans_and_writes_nothing(pipeline: Pipeline) -> None:
    result = call("refactor", "net.pt")
    assert result.exit_code == 0
    assert "front:rdft" in result.stdout
    assert "refuted" in result.stdout
    assert not list(Path().iterdir())
    assert json.loads(call("refactor", "net.pt", "--format", "json").stdout)["schema"] == "paramaudit/plan/1"
    pipeline.scanned = SimpleNamespace(audit=AUDIT, plan=NO_PLAN)
    assert call("refactor", "net.pt").exit_code == 0


def test_refactor_without_a_target_reads_the_last_audit(pipeline: Pipeline) -> None:
    one_line(call("refactor"), 2, "no audit here yet")
    call("scan", "net.py:build")
    pipeline.opened.clear()
    result = call("refactor", "--ignore", "rdft")
    assert result.exit_code == 0
    assert "800" in result.stdout  # what the plan's ids stand for comes from the saved audit
    assert pipeline.options.ignore == ("rdft",)
    assert not pipeline.opened


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "paramaudit/audit/2"}', "\ud800"])
def test_a_damaged_last_audit_is_one_line(text: str, pipeline: Pipeline) -> None:  # noqa: ARG001
    Path(".paramaudit").mkdir()
    Path(".paramaudit/audit.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    one_line(call("refactor"), 2)


@pytest.mark.parametrize(
    ("target", "out"),
    [
        ("models/net.pt2", "net.refactored.pt2"),
        ("src/net.py:build", "net.refactored.pt2"),
        ("package.module:build", "module.refactored.pt2"),
        ("folder", "folder.refactored.pt2"),
    ],
)
def test_apply_writes_the_model_and_its_certificate(target: str, out: str, pipeline: Pipeline) -> None:
    Path("folder").mkdir()
    Path("models").mkdir()
    Path("models/net.pt2").touch()
    result = call("refactor", target, "--apply", "--format", "json")
    assert result.exit_code == 0
    assert Path(out).read_text(encoding="utf-8") == "model"
    assert json.loads(result.stdout)["schema"] == "paramaudit/certificate/1"
    assert json.loads(Path(".paramaudit/certificate.json").read_text(encoding="utf-8"))["equivalent"] is True
    assert f"wrote {out}" in result.stderr
    assert [name for name, _ in pipeline.opened] == [target]


def test_apply_writes_where_it_is_told_to(pipeline: Pipeline) -> None:  # noqa: ARG001
    assert (
        call("refactor", "net.pt", "--apply", "--save", "new.pt2", "--certificate", "c.json").exit_code == 0
    )
    assert sorted(path.name for path in Path().iterdir()) == ["c.json", "new.pt2"]


@pytest.mark.parametrize("answer", [False, None])
def test_a_failed_verification_keeps_nothing(answer: bool | None, pipeline: Pipeline) -> None:
    pipeline.answer = answer
    for name in ("table", "json", "markdown"):
        result = call("refactor", "net.pt", "--apply", "--format", name)
        assert result.exit_code == 1
        assert result.stdout
    assert not list(Path().iterdir())


def test_nothing_to_apply_is_exit_3(pipeline: Pipeline) -> None:
    pipeline.scanned = SimpleNamespace(audit=AUDIT, plan=NO_PLAN)
    result = call("refactor", "net.pt", "--apply", "--format", "json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["refused"]
    assert result.stderr == "nothing to apply\n"


def test_apply_without_a_target_takes_the_last_audited_model(pipeline: Pipeline) -> None:
    call("scan", "net.py:build")
    assert call("refactor", "--apply").exit_code == 0
    assert [name for name, _ in pipeline.opened] == ["net.py:build"] * 2
    changed = SimpleNamespace(model=SimpleNamespace(**{**vars(MODEL), "sha256": "f" * 64}))
    pipeline.scanned = SimpleNamespace(audit=changed, plan=PLAN)
    one_line(call("refactor", "--apply"), 2, "changed since it was audited")


def test_save_needs_apply(pipeline: Pipeline) -> None:
    one_line(call("refactor", "net.pt", "--save", "x.pt2"), 2, "--save needs --apply")
    assert not pipeline.opened
