"""`localllm quantize`: files that load and answer, options, and one clear line for what cannot be."""

import os
import resource
import signal
import time

import numpy as np
import pytest

import localllm
from localllm.gguf.reader import open_gguf
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.encode import Encoder
from localllm.quantize.imatrix import Entry, Imatrix, write_imatrix
from localllm.quantize.sources import open_source
from tests import tiny_models
from tests.gguf import build

IDS = list(range(0, 96, 5))


@pytest.fixture
def source(tmp_path):
    return tiny_models.write(tmp_path / "source.gguf", "llama", general__name="tiny")


@pytest.fixture
def calibration(tmp_path, source):
    rng = np.random.default_rng(0)
    with open_gguf(source) as file:
        entries = {
            name: Entry(rng.random((1, info.shape[0])).astype(np.float32) * 9, np.array([9]))
            for name, info in file.tensors.items()
            if name.startswith("blk") and len(info.shape) == 2
        }
    write_imatrix(tmp_path / "calibration.gguf", Imatrix(entries, ("text.txt",), 3, 512))
    return tmp_path / "calibration.gguf"


def formats(path):
    with open_gguf(path) as file:
        return {name: info.format.name for name, info in file.tensors.items()}


def bytes_of(source, name):
    raw = source.encoded(name, FORMATS[source.tensors[name].format])
    return raw.tobytes()


def logits(path):
    with localllm.load(path) as model:
        return model.logits(IDS)


def test_the_file_loads_and_answers_as_its_source_does(call, source, tmp_path):
    done = call("quantize", source, tmp_path / "out.gguf", "q8_0")
    assert done.status == 0
    assert f"{tmp_path / 'out.gguf'}: 1.3 MB, 8.54 bits per weight" in done.out
    assert "(tensors: 23 Q8_0, 7 F32)" in done.out
    assert "method: plain; with --imatrix FILE" in done.err
    assert tiny_models.nmse(logits(source), logits(tmp_path / "out.gguf")) < 1e-3
    with open_gguf(tmp_path / "out.gguf") as made, open_gguf(source) as old:
        assert (made.metadata["general.file_type"], made.metadata["general.quantization_version"]) == (7, 2)
        assert {key: made.metadata[key] for key in old.metadata} == dict(old.metadata)
        assert [made.metadata.describe(key) for key in old.metadata] == [old.metadata.describe(k) for k in old.metadata]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("F16", 1e-6),
        ("BF16", 5e-5),
        ("Q6_K", 5e-3),
        ("Q5_1", 2e-2),
        ("Q4_K_M", 5e-2),
        ("IQ4_XS", 7e-2),
        ("Q3_K_L", 0.2),
    ],
)
def test_mixtures(call, source, tmp_path, name, bound):
    assert call("quantize", source, tmp_path / "out.gguf", name).status == 0
    assert tiny_models.nmse(logits(source), logits(tmp_path / "out.gguf")) < bound


def test_threads_do_not_change_the_file(call, source, tmp_path):
    for n in (1, 2):
        assert call("quantize", source, tmp_path / f"{n}.gguf", "Q4_0", "-t", n).status == 0
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "2.gguf").read_bytes()


def test_calibration_is_used_and_named(call, source, calibration, tmp_path):
    done = call("quantize", source, tmp_path / "a.gguf", "Q4_0", "--imatrix", calibration)
    assert done.status == 0
    assert "method: imatrix\n" in done.err
    keys = {"file": str(calibration), "dataset": "text.txt", "entries_count": 21, "chunks_count": 3}
    with open_gguf(tmp_path / "a.gguf") as made:
        assert {key: made.metadata[f"quantize.imatrix.{key}"] for key in keys} == keys
    done = call("quantize", source, tmp_path / "b.gguf", "Q4_0", "--imatrix", calibration, "--method", "plain")
    assert "--method plain does not use the calibration" in done.err
    a, b = (open_source(str(tmp_path / name)) for name in ("a.gguf", "b.gguf"))
    assert "quantize.imatrix.file" not in b.metadata
    same = {name for name in a.tensors if bytes_of(a, name) == bytes_of(b, name)}
    assert {"token_embd.weight", "output.weight"} < same
    assert "blk.1.ffn_up.weight" not in same


def test_formats_of_two_bits_want_calibration(call, source, calibration, tmp_path):
    out = tmp_path / "out.gguf"
    done = call("quantize", source, out, "Q2_K_S")
    assert done.status == 2
    assert "more tensors in Q2_K have no calibration" in done.err
    assert "localllm calibrate" in done.err
    assert not out.exists()
    done = call("quantize", source, out, "Q2_K_S", "--method", "plain")
    assert done.status == 0
    assert "the answers of such a model are poor" in done.err
    assert call("quantize", source, out, "Q2_K_S", "--imatrix", calibration, "--force").status == 0


class TestOptions:
    def test_formats_of_single_tensors(self, call, source, tmp_path):
        options = ["--tensor-type", r"blk\.1\.ffn_(up|gate)=q4_0", "--tensor-type", "attn_v=F16"]
        options += ["--output-tensor-type", "F32", "--token-embedding-type", "f16"]
        assert call("quantize", source, tmp_path / "out.gguf", "Q8_0", *options).status == 0
        found = formats(tmp_path / "out.gguf")
        assert {name for name in found if found[name] == "Q4_0"} == {"blk.1.ffn_up.weight", "blk.1.ffn_gate.weight"}
        assert (found["blk.0.attn_v.weight"], found["output.weight"], found["token_embd.weight"]) == (
            "F16",
            "F32",
            "F16",
        )

    def test_the_output_may_stay(self, call, source, tmp_path):
        assert call("quantize", source, tmp_path / "out.gguf", "Q8_0", "--leave-output-tensor").status == 0
        assert formats(tmp_path / "out.gguf")["output.weight"] == "F32"

    def test_dry_run(self, call, source, tmp_path):
        done = call("quantize", source, tmp_path / "out.gguf", "Q4_K_M", "--dry-run")
        assert done.status == 0
        lines = done.out.splitlines()
        assert len(lines) == 31
        assert lines[0].split() == ["token_embd.weight", "256", "×", "96", "F32", "→", "Q4_K", "0.01", "MB"]
        assert lines[-1].startswith("0.8 MB, 5.15 bits per weight (tensors: 15 Q4_K, 7 F32")
        assert "6 tensors have rows of no whole blocks of 256, as Q4_K needs" in done.err
        assert [path.name for path in tmp_path.iterdir()] == ["source.gguf"]

    def test_requantizing(self, call, source, tmp_path):
        first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
        assert call("quantize", source, first, "Q8_0").status == 0
        done = call("quantize", first, second, "Q4_0")
        assert done.status == 1
        assert "is quantized already (Q8_0)" in done.err
        assert not second.exists()
        assert call("quantize", first, second, "Q4_0", "--allow-requantize").status == 0
        assert tiny_models.nmse(logits(first), logits(second)) < 0.1

    def test_parts_are_written_and_merged_again(self, call, source, tmp_path):
        done = call("quantize", source, tmp_path / "p.gguf", "COPY", "--split-max-size", "1M")
        names = [f"p-0000{i}-of-00006.gguf" for i in range(1, 7)]
        assert [path.rpartition("/")[2] for path in done.out.split(":")[0].split()] == names
        assert call("quantize", tmp_path / names[2], tmp_path / "merged.gguf", "COPY").status == 0
        assert call("quantize", source, tmp_path / "copy.gguf", "COPY").status == 0
        assert (tmp_path / "merged.gguf").read_bytes() == (tmp_path / "copy.gguf").read_bytes()
        np.testing.assert_array_equal(logits(tmp_path / "merged.gguf"), logits(source))

    def test_vocabulary_alone(self, call, source, tmp_path):
        assert call("quantize", source, tmp_path / "out.gguf", "--vocab-only").status == 0
        with open_gguf(tmp_path / "out.gguf") as made, open_gguf(source) as old:
            assert dict(made.metadata) == dict(old.metadata)
            assert not made.tensors

    def test_metadata(self, call, source, tmp_path):
        changes = "--metadata", "general.name=new", "--metadata", "a.b:arr:f32=[1, 2]"
        assert call("quantize", source, tmp_path / "out.gguf", "COPY", *changes).status == 0
        with open_gguf(tmp_path / "out.gguf") as made:
            assert (made.metadata["general.name"], made.metadata["a.b"]) == ("new", [1.0, 2.0])


def wrong(done, status, *words):
    assert done.status == status
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if line.startswith("localllm: ")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


class TestErrors:
    def test_a_file_that_is_there(self, call, source, tmp_path):
        (tmp_path / "out.gguf").write_bytes(b"old")
        wrong(call("quantize", source, tmp_path / "out.gguf", "Q8_0"), 1, "out.gguf: exists already; --force")
        assert (tmp_path / "out.gguf").read_bytes() == b"old"
        assert call("quantize", source, tmp_path / "out.gguf", "Q8_0", "--force").status == 0

    def test_the_source_itself(self, call, source, tmp_path):
        before = source.read_bytes()
        (tmp_path / "link.gguf").symlink_to(source)
        for path in (source, tmp_path / "link.gguf"):
            wrong(call("quantize", source, path, "Q8_0", "--force"), 1, "is a file that is read; write to another one")
        assert source.read_bytes() == before

    def test_a_part_that_is_there(self, call, source, tmp_path):
        (tmp_path / "out-00002-of-00006.gguf").write_bytes(b"old")
        done = call("quantize", source, tmp_path / "out.gguf", "F32", "--split-max-size", "1M")
        wrong(done, 1, "out-00002-of-00006.gguf: exists already")

    def test_a_directory(self, call, source, tmp_path):
        wrong(call("quantize", source, tmp_path, "Q8_0"), 1, "is a directory; name the file to write")

    def test_no_such_file(self, call, tmp_path):
        wrong(call("quantize", tmp_path / "none.gguf", tmp_path / "out.gguf", "Q8_0"), 1, "none.gguf: no such file")

    def test_a_damaged_file(self, call, source, tmp_path):
        source.write_bytes(source.read_bytes()[:-1000])
        wrong(call("quantize", source, tmp_path / "out.gguf", "Q8_0"), 1, "source.gguf: tensor ", "truncated")
        assert not (tmp_path / "out.gguf").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("Q9",), ("there is no format 'Q9'; formats are F32, F16,", "Q4_K_M", "and COPY")),
            ((), ("give a format: one of F32",)),
            (("Q8_0", "--vocab-only"), ("--vocab-only writes no tensors",)),
            (("--vocab-only", "--method", "awq", "--imatrix", "x"), ("--method has no use",)),
            (("Q8_0", "--method", "best"), ("no method 'best'; methods are plain, imatrix",)),
            (("Q8_0", "--method", "imatrix"), ("--method imatrix needs a file of calibration: --imatrix FILE",)),
            (("Q8_0", "--tensor-type", "a"), ("'a': must be PATTERN=FORMAT",)),
            (("Q8_0", "--tensor-type", "(=Q8_0"), ("'(' is no regular expression",)),
            (("Q8_0", "--tensor-type", "a=Q8_1"), ("there is no tensor format 'Q8_1'; formats are F32",)),
            (("Q8_0", "--output-tensor-type", "x"), ("--output-tensor-type: there is no tensor format 'x'",)),
            (("Q8_0", "--split-max-size", "1T"), ("--split-max-size", "'1T' is no size: write 900M or 1.5G")),
            (("Q8_0", "--metadata", "x=1"), ("--metadata x: the source has no such key",)),
        ],
    )
    def test_usage(self, call, source, tmp_path, arguments, words):
        wrong(call("quantize", source, tmp_path / "out.gguf", *arguments), 2, *words)
        assert not (tmp_path / "out.gguf").exists()

    def test_a_calibration_file_that_is_none(self, call, source, tmp_path):
        done = call("quantize", source, tmp_path / "out.gguf", "Q8_0", "--imatrix", tmp_path / "none")
        wrong(done, 1, "none: cannot be read")

    def test_rows_that_no_format_holds(self, call, source, tmp_path):
        done = call("quantize", source, tmp_path / "out.gguf", "Q8_0", "--tensor-type", "attn_output=Q1_0")
        wrong(done, 1, "source.gguf: tensor blk.0.attn_output.weight: rows of 192", "blocks of 128 (Q1_0)")

    def test_a_full_disk(self, call, source, tmp_path):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
        try:
            done = call("quantize", source, tmp_path / "out.gguf", "Q8_0")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        wrong(done, 1, "out.gguf: cannot be written: File too large")
        assert [path.name for path in tmp_path.iterdir()] == ["source.gguf"]

    def test_a_stop_in_the_middle(self, call, source, tmp_path, monkeypatch):
        encode, calls = Encoder.encode, []

        def stopped(self, *arguments):
            calls.append(arguments)
            if len(calls) > 5:
                raise KeyboardInterrupt
            return encode(self, *arguments)

        monkeypatch.setattr(Encoder, "encode", stopped)
        assert call("quantize", source, tmp_path / "out.gguf", "Q8_0").status == 130
        assert [path.name for path in tmp_path.iterdir()] == ["source.gguf"]

    def test_sigterm(self, call, source, tmp_path, monkeypatch):
        before = signal.getsignal(signal.SIGTERM)

        def ended(self, *arguments):
            assert len(list(tmp_path.glob(".out.gguf.*.part"))) == 1
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

        monkeypatch.setattr(Encoder, "encode", ended)
        assert call("quantize", source, tmp_path / "out.gguf", "Q8_0").status == 143
        assert [path.name for path in tmp_path.iterdir()] == ["source.gguf"]
        assert signal.getsignal(signal.SIGTERM) == before


def test_a_tensor_with_no_numbers(call, tmp_path):
    path = tmp_path / "source.gguf"
    path.write_bytes(build.gguf([], [build.tensor("a.weight", (32, 2), 24)], bytes(64)))
    done = call("quantize", path, tmp_path / "out.gguf", "Q8_0")
    wrong(done, 1, "tensor a.weight: I8 cannot be read as numbers")
