"""C tables of all messages and of all files, with the header and the module map."""
import re

from google.protobuf import descriptor_pb2

from . import banner
from .c_sources import TARGET
from .schema import qualified

_ALL = "the files in Protos"

_HEADER = """
#pragma once

#include <protobuf-c/protobuf-c.h>

{includes}

/* Places in envoy_api_messages: messages sorted by full name, then the entry types of map fields. Not numbered here,
   so that a new message changes one line. */
enum {{
{messages}  envoy_api_message_count,
  envoy_api_last_message = envoy_api_message_count - 1,
{entries}  envoy_api_descriptor_count
}};

extern const ProtobufCMessageDescriptor *const envoy_api_messages[];

/* By a function, because Swift takes the address of a copy of a constant global. */
static inline const ProtobufCMessageDescriptor *envoy_api_message(int index) {{
  return envoy_api_messages[index];
}}

/* A file as gRPC server reflection serves it: a serialized google.protobuf.FileDescriptorProto. */
typedef struct {{
  const char *name;
  const unsigned char *bytes;
  int length;
  const short *dependencies; /* indices of the files that it imports */
  int dependency_count;
}} EnvoyAPIFile;

/* A message, enum or service, by full name, and the file that defines it. */
typedef struct {{
  const char *name;
  int file;
}} EnvoyAPISymbol;

enum {{ envoy_api_file_count = {files}, envoy_api_symbol_count = {symbols} }};
extern const EnvoyAPIFile envoy_api_files[];
extern const EnvoyAPISymbol envoy_api_symbols[];

/* Sorted by name. */
static inline const EnvoyAPIFile *envoy_api_file(int index) {{
  return &envoy_api_files[index];
}}

/* Sorted by name. */
static inline const EnvoyAPISymbol *envoy_api_symbol(int index) {{
  return &envoy_api_symbols[index];
}}
"""


def files(api):
    """Path → text."""
    described = sorted(api.files, key=lambda f: f.name.encode())
    symbols = [(name, t.file.name) for name, t in api.types.items() if not t.is_map_entry]
    symbols += [(qualified(file.package, service.name), file.name) for file, service, _ in api.services]
    symbols.sort(key=lambda s: s[0].encode())
    includes = "\n".join(f'#include "{f.name.removesuffix(".proto")}.pb-c.h"' for f in described)
    header = _HEADER.format(includes=includes, messages=_places(api.messages()), entries=_places(api.map_entries()),
                            files=len(described), symbols=len(symbols))
    top = f"/* {banner(_ALL)} */\n"
    return {
        f"{TARGET}/include/CEnvoyAPI.h": top + header,
        f"{TARGET}/include/module.modulemap":
            f'// {banner(_ALL)}\nmodule CEnvoyAPI {{\n    umbrella header "CEnvoyAPI.h"\n    export *\n}}\n',
        f"{TARGET}/messages.c": top + _messages(api.messages() + api.map_entries()),
        f"{TARGET}/files.c": top + _files(described, symbols),
    }


def _messages(types):
    lines = "".join(f"  &{t.c_lower_name}__descriptor,\n" for t in types)
    return f'#include "CEnvoyAPI.h"\n\nconst ProtobufCMessageDescriptor *const envoy_api_messages[] = {{\n{lines}}};\n'


def _places(types):
    return "".join(f"  {t.place},\n" for t in types)


def _identifier(file_name):
    return re.sub(r"\W", "_", file_name.removesuffix(".proto"))


def _files(described, symbols):
    text = '#include "CEnvoyAPI.h"\n\n/* Places in envoy_api_files. */\nenum {\n'
    text += "".join(f"  place_{_identifier(file.name)},\n" for file in described) + "};\n"
    rows = ""
    for file in described:
        bare = descriptor_pb2.FileDescriptorProto()
        bare.CopyFrom(file)
        bare.ClearField("source_code_info")
        for message in bare.message_type:
            _drop_json_names(message)
        data, name = bare.SerializeToString(deterministic=True), _identifier(file.name)
        text += f"\n/* {file.name} */\nstatic const unsigned char file_{name}[] =\n{_literal(data)};\n"
        pointer = "0"
        if file.dependency:
            pointer = f"imports_{name}"
            places = "".join(f"  place_{_identifier(imported)},\n" for imported in sorted(file.dependency))
            text += f"static const short {pointer}[] = {{\n{places}}};\n"
        rows += f'  {{"{file.name}", file_{name}, {len(data)}, {pointer}, {len(file.dependency)}}},\n'
    text += f"\nconst EnvoyAPIFile envoy_api_files[] = {{\n{rows}}};\n"
    rows = "".join(f'  {{"{name}", place_{_identifier(file)}}},\n' for name, file in symbols)
    return text + f"\nconst EnvoyAPISymbol envoy_api_symbols[] = {{\n{rows}}};\n"


def _drop_json_names(message):
    """They follow from the names, and a reader derives them."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _drop_json_names(nested)


def _literal(data, width=24):
    """Bytes as C string literals: compilers read these many times faster than lists of numbers."""
    def escape(byte):
        character = chr(byte)
        plain = 0x20 <= byte < 0x7F and character not in '"\\?'
        return character if plain else f"\\{byte:03o}"

    lines = [data[start:start + width] for start in range(0, len(data), width)]
    return "\n".join('  "' + "".join(map(escape, line)) + '"' for line in lines)
