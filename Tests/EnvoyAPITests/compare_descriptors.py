#!/usr/bin/env python3
"""Compares every message, field, enum and RPC of Protos/ with the upstream descriptors of these PyPI packages:

    xds-protos==1.85.0 grpcio-health-checking==1.85.1 grpcio-reflection==1.85.1 spiffe==0.3.2

    .build/venv/bin/python Tests/EnvoyAPITests/compare_descriptors.py              exit 1 on any difference
    .build/venv/bin/python Tests/EnvoyAPITests/compare_descriptors.py --self-test  that changed copies are found out

A message may leave fields out if its comment begins "In part: without a, b." and names exactly those. Messages, enums
and services may be left out; what is there must be whole. `oneof _x { T x = n; }` counts as `optional T x = n`.
"""
import importlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PIP = "xds-protos==1.85.0 grpcio-health-checking==1.85.1 grpcio-reflection==1.85.1 spiffe==0.3.2"
# There is nothing to compare them with: our own definitions, and Istio's, which no package has.
OWN = ("martinet/", "istio/")
# Files whose Python modules are not called after their path. Version 1 of reflection is version 1alpha under another
# package, and no package has it.
MODULES = {
    "grpc/health/v1/health.proto": "grpc_health.v1.health_pb2",
    "grpc/reflection/v1/reflection.proto": "grpc_reflection.v1alpha.reflection_pb2",
    "grpc/reflection/v1alpha/reflection.proto": "grpc_reflection.v1alpha.reflection_pb2",
    "spiffe/workload/workload.proto": "spiffe._proto.workload_pb2",
}

try:
    from google.protobuf import descriptor_pb2
except ImportError:
    sys.exit(f"error: the Python packages are missing\n"
             f"hint: python3 -m venv .build/venv && .build/venv/bin/pip install {PIP}")


class Comparison:
    def __init__(self):
        self.differences = []
        self.counts = dict.fromkeys(("files", "own files", "messages", "messages in part", "map entries", "fields",
                                     "enums", "enum values", "services", "methods"), 0)

    def differ(self, where, what):
        self.differences.append(f"{where}: {what}")

    def same(self, where, ours, theirs, what):
        if ours != theirs:
            self.differ(where, f"{what} is {ours}, upstream has {theirs}")

    def file(self, ours, theirs):
        self.counts["files"] += 1
        comments = {tuple(l.path): l.leading_comments.strip() for l in ours.source_code_info.location}
        # Type names are compared without their package, which differs for reflection v1.
        local = lambda name, package: name.removeprefix(f".{package}.")
        self.local = lambda ours_name, theirs_name: (local(ours_name, ours.package), local(theirs_name, theirs.package))
        self.pairs(ours.name, ours.message_type, theirs.message_type, "message",
                   lambda *pair: self.message(*pair[:3], comments, (4, pair[3])))
        self.pairs(ours.name, ours.enum_type, theirs.enum_type, "enum", lambda *pair: self.enum(*pair[:3]))
        self.pairs(ours.name, ours.service, theirs.service, "service", lambda *pair: self.service(*pair[:3]))

    def pairs(self, where, ours, theirs, kind, compare):
        known = {item.name: item for item in theirs}
        for index, item in enumerate(ours):
            if item.name in known:
                compare(f"{where}: {item.name}", item, known[item.name], index)
            else:
                self.differ(where, f"{kind} {item.name} is not upstream")

    def message(self, where, ours, theirs, comments, path):
        self.counts["map entries" if ours.options.map_entry else "messages"] += 1
        self.same(where, ours.options.map_entry, theirs.options.map_entry, "being a map entry")
        fields = {field.name: field for field in theirs.field}
        for field in ours.field:
            if field.name in fields:
                self.field(f"{where}.{field.name}", ours, field, theirs, fields.pop(field.name))
            else:
                self.differ(where, f"field {field.name} is not upstream")
        said = re.match(r"In part: without ([\w, \n]+?)\.(\s|$)", comments.get(path, ""))
        left_out = re.split(r",\s*", re.sub(r"\s+", " ", said[1])) if said else []
        self.counts["messages in part"] += bool(said)
        for name in sorted(set(fields) - set(left_out)):
            self.differ(where, f"field {name} is missing, and the comment does not say so")
        for name in sorted(set(left_out) - set(fields)):
            self.differ(where, f"the comment says that {name} is missing, which it is not")
        self.pairs(where, ours.nested_type, theirs.nested_type, "message",
                   lambda *pair: self.message(*pair[:3], comments, (*path, 3, pair[3])))
        self.pairs(where, ours.enum_type, theirs.enum_type, "enum", lambda *pair: self.enum(*pair[:3]))

    def field(self, where, our_message, ours, their_message, theirs):
        self.counts["fields"] += 1
        kind = descriptor_pb2.FieldDescriptorProto
        self.same(where, ours.number, theirs.number, "number")
        self.same(where, kind.Type.Name(ours.type), kind.Type.Name(theirs.type), "type")
        self.same(where, *self.local(ours.type_name, theirs.type_name), "type name")
        self.same(where, kind.Label.Name(ours.label), kind.Label.Name(theirs.label), "label")
        self.same(where, oneof(our_message, ours), oneof(their_message, theirs), "oneof")
        self.same(where, ours.json_name, theirs.json_name, "JSON name")
        self.same(where, ours.options.packed, theirs.options.packed, "packed")

    def enum(self, where, ours, theirs):
        self.counts["enums"] += 1
        self.counts["enum values"] += len(ours.value)
        numbers = [{value.name: value.number for value in enum.value} for enum in (ours, theirs)]
        for name in sorted(set(numbers[0]) | set(numbers[1])):
            self.same(where, numbers[0].get(name), numbers[1].get(name), f"value {name}")
        self.same(where, ours.options.allow_alias, theirs.options.allow_alias, "allow_alias")

    def service(self, where, ours, theirs):
        self.counts["services"] += 1
        methods = {method.name: method for method in theirs.method}
        for method in ours.method:
            self.counts["methods"] += 1
            other = methods.pop(method.name, None)
            if other is None:
                self.differ(where, f"method {method.name} is not upstream")
                continue
            here = f"{where}.{method.name}"
            self.same(here, *self.local(method.input_type, other.input_type), "request")
            self.same(here, *self.local(method.output_type, other.output_type), "response")
            self.same(here, method.client_streaming, other.client_streaming, "client streaming")
            self.same(here, method.server_streaming, other.server_streaming, "server streaming")
        for name in methods:
            self.differ(where, f"method {name} is missing")


def oneof(message, field):
    """The oneof of a field; `optional` as protoc describes it, which is a oneof of one field called _NAME."""
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None


def upstream(name):
    """The upstream descriptor of one of our files."""
    module = MODULES.get(name) or name.removesuffix(".proto").replace("/", ".") + "_pb2"
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        sys.exit(f"error: no upstream descriptors of {name}: {error}\n"
                 f"hint: .build/venv/bin/pip install {PIP}; a file of our own belongs under {OWN[0]}")
    return descriptor_pb2.FileDescriptorProto.FromString(loaded.DESCRIPTOR.serialized_pb)


def fill_defaults(message):
    """JSON names, which protoc writes out and stored descriptors leave out."""
    for field in message.field:
        if not field.json_name:
            first, *rest = field.name.split("_")
            field.json_name = first + "".join(word[:1].upper() + word[1:] for word in rest)
    for nested in message.nested_type:
        fill_defaults(nested)


def compare(directory):
    names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*.proto"))
    with tempfile.NamedTemporaryFile() as output:
        try:
            subprocess.run(["protoc", f"-I{directory}", "--include_source_info", f"--descriptor_set_out={output.name}",
                            *names], check=True)
        except FileNotFoundError:
            sys.exit("error: protoc is missing\nhint: apt-get install protobuf-compiler")
        files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(output.name).read_bytes()).file
    comparison = Comparison()
    for ours in files:
        if ours.name.startswith(OWN):
            comparison.counts["own files"] += 1
            continue
        theirs = upstream(ours.name)
        for file in (ours, theirs):
            for message in file.message_type:
                fill_defaults(message)
        comparison.file(ours, theirs)
    return comparison


# File, text, its replacement, and a word that the difference must contain.
MUTATIONS = [
    ("envoy/config/cluster/v3/cluster.proto", "lb_policy = 6;", "lb_policy = 66;", "number"),
    ("envoy/config/cluster/v3/cluster.proto", "string alt_stat_name", "bytes alt_stat_name", "type"),
    ("envoy/config/cluster/v3/cluster.proto", "EdsClusterConfig eds_cluster_config",
     "LbSubsetConfig eds_cluster_config", "type name"),
    ("envoy/config/cluster/v3/cluster.proto", "repeated envoy.config.core.v3.HealthCheck",
     "envoy.config.core.v3.HealthCheck", "label"),
    ("envoy/config/cluster/v3/cluster.proto", "alt_stat_name", "alternative_stat_name", "alternative_stat_name"),
    ("envoy/type/v3/http.proto", "HTTP2 = 1;", "HTTP2 = 7;", "value HTTP2"),
    ("envoy/type/v3/hash_policy.proto", "oneof policy_specifier", "oneof specifier", "oneof"),
    ("envoy/type/v3/percent.proto", "  double value = 1;\n", "", "field value is missing"),
    ("envoy/type/v3/percent.proto", "message Percent {", "message Percent {\n  int32 extra = 9;", "extra"),
    ("envoy/type/v3/percent.proto", "message Percent {", "message Ratio {}\nmessage Percent {", "Ratio"),
    ("xds/type/v3/cel.proto", "In part: without", "Without", "cel_expr_checked"),
    ("xds/type/v3/cel.proto", "cel_expr_checked", "cel_expr_string", "cel_expr_string"),
    ("google/protobuf/struct.proto", "map<string, Value>", "map<int32, Value>", "type"),
    ("envoy/service/discovery/v3/ads.proto", "stream DeltaDiscoveryResponse", "DeltaDiscoveryResponse", "streaming"),
    ("grpc/health/v1/health.proto", "NOT_SERVING = 2;", "NOT_SERVING = 4;", "NOT_SERVING"),
]


def self_test(directory):
    with tempfile.TemporaryDirectory() as scratch:
        copy = pathlib.Path(scratch, "Protos")
        shutil.copytree(directory, copy)
        for name, old, new, word in MUTATIONS:
            text = (copy / name).read_text()
            if old not in text:
                sys.exit(f"error: {name} no longer has {old!r}\nhint: change MUTATIONS in {__file__}")
            (copy / name).write_text(text.replace(old, new, 1))
            found = compare(copy).differences
            (copy / name).write_text(text)
            if not any(word in difference for difference in found):
                sys.exit(f"error: {name}: {old!r} → {new!r} is not found out; differences: {found}")
    print(f"{len(MUTATIONS)} changes, each found out")


def main():
    directory = ROOT / "Protos"
    if sys.argv[1:] == ["--self-test"]:
        return self_test(directory)
    comparison = compare(directory)
    print(", ".join(f"{count} {name}" for name, count in comparison.counts.items()))
    if comparison.differences:
        print("\n".join(comparison.differences))
        sys.exit(f"error: {len(comparison.differences)} differences from the upstream descriptors\n"
                 "hint: correct the .proto files and run `make protos`")


if __name__ == "__main__":
    main()
