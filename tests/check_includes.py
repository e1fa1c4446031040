#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks which way the folders of src/ look, and a few more rules of the house.

    check_includes.py              checks the repository
    check_includes.py --self-test  checks that planted violations are found

The table of modules in docs/design.md is the rule: a module may include base, what its row names, and what those may
include. Every third-party header is included in one folder only. Prints one line for each violation.
"""

import pathlib
import re
import sys
import tempfile

# Third-party header -> the folders that may include it. Not listed: the standard library and POSIX.
THIRD_PARTY = {
    r"nlohmann/": {"base"},
    r"spdlog/": {"base"},
    r"fmt/": None,  # anywhere: it stands in for std::format, which this compiler lacks
    r"boost/": {"server"},
    r"simdjson": {"server"},
    r"yaml-cpp/": {"apps"},
    r"simde/": {"kernels"},
    r"cuda|nccl|cublas": {"kernels", "comm"},
    r"mpi\.h": {"comm"},
    r"gtest/|gmock/": None,  # tests; checked below
}
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def read_design(design_text):
    """Module -> modules that its row allows (None: all), from the table whose header begins with "module in"."""
    edges = {}
    in_table = False
    for line in design_text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| module in"):
            in_table = True
        elif in_table and not line.startswith("|"):
            break
        elif in_table and len(cells) == 3 and not set(cells[0]) <= set("-: "):
            allowed = cells[2]
            words = set(re.findall(r"[a-z]+", allowed))
            edges[cells[0].strip("`")] = None if allowed == "all" else words - {"nothing"}
    if not edges:
        raise ValueError("docs/design.md has no table of modules")
    unknown = {word for words in edges.values() if words for word in words} - set(edges)
    if unknown:
        raise ValueError(f"docs/design.md: the table allows unknown modules: {', '.join(sorted(unknown))}")
    return edges


def closure(edges):
    """Module -> every module that it may include, itself and base among them. Fails on a cycle."""
    reach = {}

    def visit(module, path):
        if module in path:
            raise ValueError("docs/design.md: the table has a cycle: " + " -> ".join([*path, module]))
        if module not in reach:
            if edges[module] is None:
                reach[module] = set(edges)
            else:
                direct = edges[module] | ({"base"} if "base" in edges and module != "base" else set())
                reach[module] = {module}.union(*(visit(other, [*path, module]) for other in direct))
        return reach[module]

    for module in edges:
        visit(module, [])
    return reach


def check_file(path, module, text, reach, modules):
    """Violations of one file, as texts."""
    is_test = path.name.endswith("_test.cc") or "testing" in path.parts or path.name.startswith("test_")
    for quoted, angled in INCLUDE.findall(text):
        header = quoted or angled
        target = header.split("/")[0]
        if quoted and target in modules:
            # A test may use what stands above it, as a fake or an oracle, as long as its module is not built of it.
            if not is_test and target not in reach[module]:
                yield f"includes {header}: {module} may not include {target} (docs/design.md)"
            continue
        for pattern, folders in THIRD_PARTY.items():
            if not re.match(pattern, header):
                continue
            if pattern.startswith("gtest"):
                if not is_test:
                    yield f"includes {header}: only tests may"
            elif folders is not None and module not in folders:
                yield f"includes {header}: only {', '.join(sorted(folders))} may"
    if re.search(r"\bgetenv\s*\(", text) and module != "apps":
        yield "calls getenv: only apps may"
    if "SPDX-License-Identifier: Apache-2.0" not in text[:4000]:
        yield "has no SPDX line"
    if path.suffix == ".h" and "#pragma once" not in text:
        yield "has no #pragma once"


TYPE = re.compile(r"^(?:class|struct|enum class) (\w+)(?: final)?(?: : [^{;]*)? ?\{", re.MULTILINE)


def types_of_one_name(headers):
    """Types that two headers define: in one program the linker takes either's functions for both."""
    places = {}
    for relative, text in headers:
        for name in set(TYPE.findall(text)):
            places.setdefault(name, []).append(relative)
    for name, where in sorted(places.items()):
        if len(where) > 1:
            yield f"{where[1]}: defines {name}, as {where[0]} does"


def check(root):
    """All violations under `root`, as texts "file: what"."""
    edges = read_design((root / "docs/design.md").read_text(encoding="utf-8"))
    reach = closure(edges)
    violations = []
    headers = []
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in {".h", ".cc", ".cu", ".cuh"}:
            continue
        relative = path.relative_to(root)
        module = relative.parts[1]
        if module not in edges:
            violations.append(f"{relative}: {module} is not in the table of docs/design.md")
            continue
        text = path.read_text(encoding="utf-8")
        violations += [f"{relative}: {what}" for what in check_file(relative, module, text, reach, edges)]
        if path.suffix == ".h" and "testing" not in relative.parts and "namespace {" not in text:
            headers.append((relative, text))
    return violations + list(types_of_one_name(headers))


def self_test():
    design = ("| module in `src/` | what | may include |\n|---|---|---|\n| `base` | x | nothing |\n"
              "| `low` | x | – |\n| `mid` | x | low |\n| `high` | x | mid |\n| `apps` | x | all |\n\ntext\n")
    head = "// SPDX-License-Identifier: Apache-2.0\n"
    files = {
        "src/base/b.cc": '#include <nlohmann/json.hpp>\n#include "base/b.h"\n',
        "src/low/ok.cc": '#include <vector>\n#include "base/b.h"\n',
        "src/high/ok.cc": '#include "low/l.h"\n#include "mid/m.h"\n',
        "src/apps/ok.cc": '#include "high/h.h"\ngetenv("X");\n',
        "src/low/up_test.cc": '#include <gtest/gtest.h>\n#include "high/h.h"\n',
        "src/low/up.cc": '#include "mid/m.h"\n',
        "src/base/up.cc": '  #  include "low/l.h"\n',
        "src/mid/json.cc": "#include <nlohmann/json.hpp>\n",
        "src/mid/env.cc": 'std::getenv("X");\n',
        "src/mid/test.cc": "#include <gtest/gtest.h>\n",
        "src/mid/once.h": "int x;\n",
        "src/new/n.cc": "int x;\n",
        "src/low/twice.h": "#pragma once\nclass Twice final : Other {\n",
        "src/mid/twice.h": "#pragma once\nstruct Twice {\nstruct Declared;\n",
    }
    expected = [
        "src/base/up.cc: includes low/l.h: base may not include low (docs/design.md)",
        "src/low/up.cc: includes mid/m.h: low may not include mid (docs/design.md)",
        "src/mid/env.cc: calls getenv: only apps may",
        "src/mid/json.cc: includes nlohmann/json.hpp: only base may",
        "src/mid/once.h: has no #pragma once",
        "src/mid/spdx.cc: has no SPDX line",
        "src/mid/test.cc: includes gtest/gtest.h: only tests may",
        "src/new/n.cc: new is not in the table of docs/design.md",
        "src/mid/twice.h: defines Twice, as src/low/twice.h does",
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in {**{name: head + text for name, text in files.items()}, "src/mid/spdx.cc": "int x;\n",
                           "docs/design.md": design}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        found = check(root)
        assert found == expected, "\n".join(["found:", *found, "expected:", *expected])
    for broken, message in ((design.replace("| `low` | x | – |", "| `low` | x | high |"), "cycle"),
                            (design.replace("x | mid |", "x | middle |"), "unknown modules"), ("", "no table")):
        try:
            closure(read_design(broken))
        except ValueError as error:
            assert message in str(error), error
        else:
            raise AssertionError(f"not found: {message}")


def main():
    if "--self-test" in sys.argv[1:]:
        self_test()
        return 0
    self_test()
    violations = check(pathlib.Path(__file__).resolve().parent.parent)
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
