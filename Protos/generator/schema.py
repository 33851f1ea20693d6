"""The .proto files as descriptors, and the names that their types have in C and Swift."""
import dataclasses
import pathlib
import subprocess
import tempfile

from google.protobuf import descriptor_pb2

from . import GenerationError
from .aliases import ALIASES, PREFIXES, RESERVED

Field = descriptor_pb2.FieldDescriptorProto


@dataclasses.dataclass
class Type:
    """A message or an enum."""

    full_name: str
    file: descriptor_pb2.FileDescriptorProto
    descriptor: object
    comment: str
    is_enum: bool
    is_map_entry: bool
    alias: str = ""

    @property
    def c_name(self):
        """protoc-c's name of the struct or enum: Envoy__Config__Cluster__V3__Cluster."""
        return "__".join(camel(piece) for piece in self.full_name.split("."))

    @property
    def c_lower_name(self):
        """protoc-c's name in functions and variables: envoy__config__cluster__v3__cluster."""
        return "__".join(lower(piece) for piece in self.full_name.split("."))

    @property
    def place(self):
        """The constant that is the message's place in the C table of descriptors."""
        return f"envoy_api_place_{self.c_lower_name}"


@dataclasses.dataclass
class API:
    """Everything that is defined."""

    files: list  # FileDescriptorProto with source positions, each after the files that it imports
    types: dict  # full name → Type
    services: list  # (FileDescriptorProto, ServiceDescriptorProto, comment), sorted by full name

    def messages(self):
        """Messages that are not map entries, by full name."""
        return [t for _, t in sorted(self.types.items()) if not t.is_enum and not t.is_map_entry]

    def map_entries(self):
        return [t for _, t in sorted(self.types.items()) if t.is_map_entry]


def camel(name):
    """protoc-c's ToCamel: underscores go, what follows them and the first letter become capital."""
    return "".join(piece[:1].upper() + piece[1:] for piece in name.split("_"))


def lower(name):
    """protoc-c's CamelToLower: an underscore before each capital that follows a small letter or digit run."""
    result, was_upper = "", True
    for character in name:
        if character.isupper():
            if not was_upper:
                result += "_"
            result += character.lower()
        else:
            result += character
        was_upper = character.isupper()
    return result


def run(command):
    """Runs a tool; its own words on failure, and the package on absence."""
    packages = {"protoc": "protobuf-compiler", "protoc-c": "protobuf-c-compiler"}
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise GenerationError(f"{command[0]} is missing\nhint: apt-get install {packages[command[0]]}") from None
    except subprocess.CalledProcessError as error:
        raise GenerationError(f"{command[0]} failed:\n{error.stderr}") from None


def load(directory):
    """Reads every .proto file below a directory."""
    names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        output = pathlib.Path(scratch, "set")
        run(["protoc", f"-I{directory}", "--include_source_info", "--include_imports", f"--descriptor_set_out={output}",
             *names])
        files = list(descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file)
    types, services = {}, []
    for file in files:
        if file.syntax != "proto3":
            raise GenerationError(f'{file.name}: not proto3\nhint: begin it with syntax = "proto3";')
        comments = {tuple(l.path): l.leading_comments.strip() for l in file.source_code_info.location}
        for index, message in enumerate(file.message_type):
            _add_message(types, file, comments, message, file.package, (4, index))
        for index, enum in enumerate(file.enum_type):
            _add_enum(types, file, comments, enum, file.package, (5, index))
        for index, service in enumerate(file.service):
            services.append((file, service, comments.get((6, index), "")))
    services.sort(key=lambda s: (s[0].package, s[1].name))
    api = API(files, types, services)
    _name(api)
    return api


def qualified(scope, name):
    """A full name; the Workload API has no package."""
    return f"{scope}.{name}" if scope else name


def _add_message(types, file, comments, message, scope, path):
    full_name = qualified(scope, message.name)
    comment = comments.get(path, "")
    entry = message.options.map_entry
    if not comment and not entry:
        raise GenerationError(f"{file.name}: {full_name} has no comment\nhint: say in one what the message is for")
    for field in message.field:
        if field.proto3_optional:
            raise GenerationError(
                f"{file.name}: {full_name}.{field.name} is `optional`, which protoc-c 1.4 rejects\n"
                f"hint: write `oneof _{field.name} {{ … {field.name} = {field.number}; }}`")
    types[full_name] = Type(full_name, file, message, comment, is_enum=False, is_map_entry=entry)
    for index, nested in enumerate(message.nested_type):
        _add_message(types, file, comments, nested, full_name, (*path, 3, index))
    for index, enum in enumerate(message.enum_type):
        _add_enum(types, file, comments, enum, full_name, (*path, 4, index))


def _add_enum(types, file, comments, enum, scope, path):
    full_name = qualified(scope, enum.name)
    types[full_name] = Type(full_name, file, enum, comments.get(path, ""), is_enum=True, is_map_entry=False)


def swift_name(package, name):
    """The Swift name of a top-level type or service."""
    return ALIASES.get(qualified(package, name)) or PREFIXES.get(package, "") + name


def _name(api):
    """Gives each type its Swift name, and fails where two would be the same."""
    taken = {}
    unused = set(ALIASES)
    for full_name, type_ in sorted(api.types.items()):
        package = type_.file.package
        pieces = full_name[len(package) + 1 if package else 0:].split(".")
        top = qualified(package, pieces[0])
        unused.discard(top)
        unused.discard(full_name)
        first = swift_name(package, pieces[0])
        type_.alias = ALIASES.get(full_name) or first + "".join(pieces[1:])
        other = taken.setdefault(type_.alias, full_name)
        if other != full_name:
            raise GenerationError(
                f"{full_name} and {other} would both be {type_.alias} in Swift\n"
                "hint: give one another name in Protos/generator/aliases.py")
        if type_.alias in RESERVED:
            raise GenerationError(
                f"{full_name} would be {type_.alias} in Swift, which is a name of Swift's own\n"
                "hint: give it another name in Protos/generator/aliases.py")
    for file, service, _ in api.services:
        full_name = qualified(file.package, service.name)
        unused.discard(full_name)
        other = taken.setdefault(swift_name(file.package, service.name), full_name)
        if other != full_name:
            raise GenerationError(
                f"the service {full_name} and {other} would have one name in Swift\n"
                "hint: give one another name in Protos/generator/aliases.py")
    if unused:
        raise GenerationError(f"no such message: {', '.join(sorted(unused))}\n"
                              "hint: take it out of Protos/generator/aliases.py")
