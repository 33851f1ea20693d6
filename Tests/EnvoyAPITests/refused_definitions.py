#!/usr/bin/env python3
"""Shows Protos/generate definitions that it must refuse, and looks for the word that tells what is wrong."""
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "Protos"))

from generator import GenerationError, schema  # noqa: E402

HEAD = 'syntax = "proto3";\npackage martinet.NAME;\n'
# Files, and what the error must say.
REFUSED = [
    (["// A.\nmessage Same {}\n", "// B.\nmessage Same {}\n"], "would both be Same"),
    (["// A.\nmessage Outer {\n// B.\nmessage Inner {}\n}\n", "// C.\nmessage OuterInner {}\n"],
     "would both be OuterInner"),
    (["// A.\nmessage Same {}\nservice Same2 { rpc R(Same) returns (Same); }\n", "// B.\nmessage Same2 {}\n"],
     "would have one name"),
    (["// A.\nmessage Result {}\n"], "Swift's own"),
    (["message Silent {}\n"], "has no comment"),
    (["// A.\nmessage Choosy {\n  optional string x = 1;\n}\n"], "oneof _x"),
    (["// A.\nmessage Broken {\n"], "protoc failed"),
]

for texts, word in REFUSED:
    with tempfile.TemporaryDirectory() as scratch:
        for index, text in enumerate(texts):
            name = f"file{index}"
            pathlib.Path(scratch, f"{name}.proto").write_text(HEAD.replace("NAME", name) + text)
        try:
            schema.load(pathlib.Path(scratch))
        except GenerationError as error:
            if word not in str(error):
                sys.exit(f"error: {texts} is refused without saying {word!r}: {error}")
        else:
            sys.exit(f"error: {texts} is not refused")
print(f"{len(REFUSED)} definitions, each refused")
