"""The C structs and descriptors, by protoc-c, without what Martinet does not use."""
import pathlib
import re
import tempfile

from google.protobuf import descriptor_pb2

from . import banner
from .schema import run

TARGET = "Sources/CEnvoyAPI"

# Options of protoc-c (protobuf-c/protobuf-c.proto), as unknown fields of the descriptors' options, so that our files
# stay free of them. Field 1019 is pb_c_file in FileOptions and pb_c_msg in MessageOptions.
_NO_PACK_HELPERS = b"\xda\x3f\x02\x10\x00"  # pb_c_file { gen_pack_helpers: false }
_BASE_NAME = b"message_base"
# pb_c_msg { gen_pack_helpers: false, base_field_name: "message_base" }
_OTHER_BASE_NAME = b"\xda\x3f" + bytes([4 + len(_BASE_NAME)]) + b"\x08\x00\x1a" + bytes([len(_BASE_NAME)]) + _BASE_NAME


def files(api):
    """Path → text of each header and source."""
    descriptors = descriptor_pb2.FileDescriptorSet()
    for file in api.files:
        copy = descriptors.file.add()
        copy.CopyFrom(file)
        copy.ClearField("service")  # protoc-c would make stubs for its own RPC system
        copy.options.MergeFromString(_NO_PACK_HELPERS)
        for message in copy.message_type:
            _rename_base(message)
    made = {}
    with tempfile.TemporaryDirectory() as scratch:
        source, output = pathlib.Path(scratch, "set"), pathlib.Path(scratch, "c")
        source.write_bytes(descriptors.SerializeToString(deterministic=True))
        output.mkdir()
        run(["protoc-c", f"--descriptor_set_in={source}", f"--c_out={output}", *(f.name for f in api.files)])
        for file in api.files:
            stem = file.name.removesuffix(".proto")
            head = f"/* {banner('Protos/' + file.name)} */\n"
            made[f"{TARGET}/include/{stem}.pb-c.h"] = head + _header((output / f"{stem}.pb-c.h").read_text())
            made[f"{TARGET}/{stem}.pb-c.c"] = head + _source((output / f"{stem}.pb-c.c").read_text())
    return made


def _rename_base(message):
    """A field called `base` would collide with protobuf-c's own first member."""
    if any(field.name == "base" for field in message.field):
        message.options.MergeFromString(_OTHER_BASE_NAME)
    for nested in message.nested_type:
        _rename_base(nested)


def _header(text):
    text = text.split("\n", 2)[2]
    text = re.sub(r"/\* \S+ methods \*/\n", "", text)
    text = re.sub(r"^void   \w+__init\n[^;]+;\n", "", text, flags=re.M)
    text = re.sub(r"/\* --- per-message closures --- \*/.*?(?=/\* --- descriptors --- \*/)", "", text, flags=re.S)
    return re.sub(r"\n{3,}", "\n\n", text)


def _source(text):
    text = text.split("\n", 2)[2]
    return re.sub(r"^void   (\w+__init\n)", r"static void \1", text, flags=re.M)
