"""penstock quantize on the tiny test models; what it writes is checked with numpy against the format's definition.

    python3 tests/e2e/test_quantize.py PENSTOCK TEST_MODELS_DIR

SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import safetensors_io  # noqa: E402

PENSTOCK, MODELS = sys.argv[1], pathlib.Path(sys.argv[2])
TEXT = "The river rose in the hills and ran down to the sea, and the people on its banks lived by it. " * 8


def penstock(*words):
    command = [PENSTOCK, "quantize", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def read_tensors(directory):
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors.update(safetensors_io.read_file(str(path)))
    return tensors


class QuantizeTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = pathlib.Path(temporary.name)
        self.out = self.dir / "out"
        self.data = self.dir / "data.jsonl"
        self.data.write_text(json.dumps({"text": TEXT}) + "\n" + json.dumps({"prompt": TEXT[:90]}) + "\n")

    def check_static(self, tensors, stem):
        weight = tensors[f"{stem}.weight"][1].astype(np.int64)
        scale, offset = tensors[f"{stem}.input_scale"][1], tensors[f"{stem}.input_offset"][1]
        info, deq_scale = tensors[f"{stem}.deq_scale"]
        if info.dtype == "I64":
            deq_scale = deq_scale.astype(np.uint32).view(np.float32)
        np.testing.assert_array_equal(deq_scale, scale * tensors[f"{stem}.weight_scale"][1][:, 0])
        bias = safetensors_io.to_float32(*tensors[f"{stem}.bias"]) if f"{stem}.bias" in tensors else np.zeros(1)
        expected = np.rint(bias.astype(np.float64) / deq_scale - np.float64(offset) * weight.sum(axis=1))
        np.testing.assert_array_equal(tensors[f"{stem}.quant_bias"][1], expected.astype(np.int32))
        self.assertEqual(info.shape, (len(weight),))

    def test_every_family_in_both_schemes(self):
        for model in ("tiny-llama-bias", "tiny-llama-f16", "tiny-qwen3", "tiny-qwen3-moe-mixed", "tiny-deepseek-v3",
                      "tiny-deepseek-v3-fp8"):
            for scheme in ("w8a8", "w8a8-dynamic"):
                with self.subTest(model=model, scheme=scheme):
                    out = self.dir / f"{model}-{scheme}"
                    done = penstock(MODELS / model, out, "--scheme", scheme, "--calibration-data", self.data,
                                    "--calibration-tokens", 96, "--calibration-len", 64, "--max-file-size", "200k",
                                    "--json")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertNotIn("\r", done.stderr)  # no bar where there is no terminal
                    self.assertIn("100%", done.stderr)
                    report = json.loads(done.stdout)
                    self.assertEqual(report["logits"]["num_tokens"], 96)
                    self.assertLess(report["logits"]["relative_error"], 0.5)
                    self.assertTrue(all(0 < layer["alone"] < 0.5 for layer in report["layers"]))
                    self.check_files(MODELS / model, out, scheme)

    def check_files(self, model, out, scheme):
        tensors = read_tensors(out)
        description = json.loads((out / "quant_model_description.json").read_text())
        self.assertEqual(set(tensors), {name for name in description if "." in name})
        types = {name: kind for name, kind in description.items() if name.endswith(".weight")}
        static = [name.removesuffix(".weight") for name, kind in types.items() if kind == "W8A8"]
        self.assertEqual(bool(static), scheme == "w8a8")
        for stem in static:
            self.check_static(tensors, stem)
        for name, kind in types.items():
            self.assertEqual(tensors[name][0].dtype == "I8", kind != "FLOAT", name)
            self.assertNotEqual(tensors[name][0].dtype, "F8_E4M3", name)
        wanted = {path.name for path in model.glob("*.json")} - {"model.safetensors.index.json"}
        wanted = {name for name in wanted if not name.startswith(".")} | {"quant_model_description.json"}
        index = {path.name for path in out.glob("*.safetensors.index.json")}
        self.assertEqual(len(index), 1)
        self.assertEqual({path.name for path in out.glob("*.json")} - index, wanted)
        self.assertNotIn("quantization_config", json.loads((out / "config.json").read_text()))

    def test_errors_leave_nothing(self):
        model = MODELS / "tiny-qwen3"
        cases = [([model, self.out, "--scheme", "w8a8"], "expected --calibration-data"),
                 ([model, self.out], "--scheme: expected w8a8 or w8a8-dynamic"),
                 ([model, "--scheme", "w8a8-dynamic"], "expected two directories"),
                 ([MODELS / "tiny-deepseek-v3-w8a8", self.out, "--scheme", "w8a8-dynamic"], "quantized already (ascend)"),
                 ([MODELS / "tiny-qwen3-compressed-tensors", self.out, "--scheme", "w8a8-dynamic"],
                  "quantized already (compressed-tensors)"),
                 ([model, self.dir, "--scheme", "w8a8-dynamic"], "it exists")]
        for words, message in cases:
            done = penstock(*words)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(message, done.stderr)
            self.assertEqual([path.name for path in self.dir.iterdir()], ["data.jsonl"])

    def test_help_and_the_report_for_people(self):
        self.assertIn("--calibration-tokens", penstock("--help").stdout)
        done = penstock(MODELS / "tiny-qwen3", self.out, "--scheme", "w8a8-dynamic")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("matrices as 8-bit integers", done.stdout)
        self.assertNotIn("Logits", done.stdout)
        self.assertTrue((self.out / "tokenizer.json").exists())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
