"""What makes the C structs read well in Swift: short names, setters, choices, lists, RPC paths."""
import re

from . import GenerationError, banner
from .schema import Field, camel, qualified, swift_name

TARGET = "Sources/EnvoyAPI/Generated"

# Names that protoc-c gives an underscore (C++ keywords); a superset does no harm as the C compiler knows better.
_C_KEYWORDS = frozenset("""
    and and_eq asm auto bitand bitor bool break case catch char class compl const const_cast continue default delete do
    double dynamic_cast else enum explicit extern false float for friend goto if inline int long mutable namespace new
    not not_eq operator or or_eq private protected public register reinterpret_cast return short signed sizeof static
    static_cast struct switch template this throw true try typedef typeid typename union unsigned using virtual void
    volatile wchar_t while xor xor_eq
""".split())
_SWIFT_KEYWORDS = frozenset("""
    as associatedtype break case catch class continue default defer deinit do else enum extension fallthrough false
    fileprivate for func guard if import in init inout internal is let nil operator precedencegroup private protocol
    public repeat rethrows return self static struct subscript super switch throw throws true try typealias var where
    while
""".split())
_SCALARS = {
    Field.TYPE_DOUBLE: "Double", Field.TYPE_FLOAT: "Float",
    Field.TYPE_INT32: "Int32", Field.TYPE_SINT32: "Int32", Field.TYPE_SFIXED32: "Int32",
    Field.TYPE_UINT32: "UInt32", Field.TYPE_FIXED32: "UInt32",
    Field.TYPE_INT64: "Int64", Field.TYPE_SINT64: "Int64", Field.TYPE_SFIXED64: "Int64",
    Field.TYPE_UINT64: "UInt64", Field.TYPE_FIXED64: "UInt64",
}


def files(api):
    """Path → text. One file for each area, so that the compiler has batches of like size."""
    glue = _Glue(api)
    areas = {}
    for type_ in api.messages() + api.map_entries():
        areas.setdefault(_area(type_), []).append((type_.full_name, glue.message(type_)))
    for type_ in api.types.values():
        if type_.is_enum:
            areas.setdefault(_area(type_), []).append((type_.full_name, glue.enum(type_)))
    made = {}
    for area, parts in areas.items():
        text = _head("Protos/" + "/".join(area)) + "import CEnvoyAPI\nimport CProtobufC\nimport Protobuf\n\n"
        made[f"{TARGET}/{'_'.join(area)}.swift"] = text + "\n".join(part for _, part in sorted(parts))
    made[f"{TARGET}/Services.swift"] = _services(api)
    return made


def _area(type_):
    """The first words of the package, or of the path where there is none, without the version."""
    words = type_.file.package.split(".") if type_.file.package else type_.file.name.split("/")[:-1]
    return tuple(word for word in words[:3] if not re.fullmatch(r"v\d+(alpha\d*|beta\d*)?", word))


def _head(source):
    return f"// {banner(source)}\n// swift-format-ignore-file\n"


def _doc(comment, indent=""):
    return "".join(f"{indent}/// {line.strip()}\n" for line in comment.splitlines())


def _escaped(name):
    """A declaration's name."""
    return f"`{name}`" if name in _SWIFT_KEYWORDS else name


def _case(name):
    """The case of a choice; `.self` is Swift's own."""
    return "self_" if name == "self" else _escaped(name)


class _Glue:
    def __init__(self, api):
        self.types = api.types
        self.aliases = {type_.alias for type_ in api.types.values()}

    def enum(self, type_):
        text = _doc(type_.comment) + f"public typealias {type_.alias} = {type_.c_name}\n"
        text += f"extension {type_.alias} {{\n"
        for value in type_.descriptor.value:
            if value.number < 0:
                raise GenerationError(f"{type_.full_name}.{value.name} is negative, which C imports otherwise")
            text += f"    public static var {_escaped(value.name)}: Self {{ Self({value.number}) }}\n"
        return text + "}\n"

    def message(self, type_):
        message = type_.descriptor
        comment = type_.comment
        protocol, setter = "ProtobufMessage", ""
        if type_.is_map_entry:
            comment = f"An entry of `{type_.full_name.rsplit('.', 1)[0]}`'s map."
            if message.field[0].type == Field.TYPE_STRING:
                protocol = "StringKeyedEntry"
                entry_value, kind = self._written(message.field[1])
                setter = (f"    public mutating func set(key: UnsafeMutablePointer<CChar>, value: {kind}) "
                          f"{{ self.key = key; self.value = {entry_value} }}\n")
        text = _doc(comment) + f"public typealias {type_.alias} = {type_.c_name}\n"
        text += f"extension {type_.alias}: {protocol} {{\n"
        text += f"    public static var descriptor: MessageDescriptor {{ messageDescriptor({type_.place}) }}\n" + setter
        for field in message.field:
            if field.label == Field.LABEL_REPEATED:
                text += self._list(field)
            elif field.HasField("oneof_index"):
                text += self._setter(field, message.oneof_decl[field.oneof_index].name)
            elif field.type == Field.TYPE_BYTES:
                text += (f"    public var {field.name}_bytes: UnsafeRawBufferPointer "
                         f"{{ {_member(field)}.buffer }}\n")
            elif field.type == Field.TYPE_BOOL:
                text += f"    public mutating func set({_label(field)}: Bool) {{ {_member(field)} = value ? 1 : 0 }}\n"
        for number, oneof in enumerate(message.oneof_decl):
            members = [f for f in message.field if f.HasField("oneof_index") and f.oneof_index == number]
            text += self._choice(type_, oneof.name, members)
        return text + "}\n"

    def _list(self, field):
        count, array = f"self.n_{_c_field(field)}", _member(field)
        if field.type == Field.TYPE_MESSAGE:
            kind = f"Repeated<{self._alias(field)}>"
        elif field.type == Field.TYPE_STRING:
            kind = "RepeatedStrings"
        elif field.type == Field.TYPE_BYTES:
            kind = "RepeatedBytes"
        else:
            element = "protobuf_c_boolean" if field.type == Field.TYPE_BOOL else self._scalar(field)
            kind = f"UnsafeBufferPointer<{element}>"
            return f"    public var {field.name}_list: {kind} {{ {kind}(start: {array}, count: {count}) }}\n"
        return f"    public var {field.name}_list: {kind} {{ {kind}({count}, {array}) }}\n"

    def _setter(self, field, oneof):
        value, kind = self._written(field)
        return (f"    public mutating func set({_label(field)}: {kind}) "
                f"{{ {_member(field)} = {value}; self.{oneof}_case = .init({field.number}) }}\n")

    def _written(self, field):
        """What a setter assigns, and the type of its parameter `value`."""
        kind = {Field.TYPE_BOOL: "Bool", Field.TYPE_STRING: "UnsafeMutablePointer<CChar>",
                Field.TYPE_BYTES: "ProtobufCBinaryData"}.get(field.type) or self._scalar(field)
        return "value ? 1 : 0" if field.type == Field.TYPE_BOOL else "value", kind

    def _choice(self, type_, oneof, members):
        if oneof.startswith("_"):
            field, = members
            return (f"    public var optional_{field.name}: {self._read_type(field)}? "
                    f"{{ self.{oneof}_case.rawValue == {field.number} ? {self._read(field)} : nil }}\n")
        name = camel(oneof) + "Choice"
        if name in self.aliases:
            raise GenerationError(f"{type_.full_name}.{oneof}: a type is called {name} already")
        text = f"    public enum {name} {{\n"
        for field in members:
            text += f"        case {_case(field.name)}({self._read_type(field)})\n"
        text += f"    }}\n    public var {_escaped(oneof)}: {name}? {{\n        switch self.{oneof}_case.rawValue {{\n"
        for field in members:
            text += f"        case {field.number}: .{_case(field.name)}({self._read(field)})\n"
        return text + "        default: nil\n        }\n    }\n"

    def _read_type(self, field):
        return {Field.TYPE_BOOL: "Bool", Field.TYPE_STRING: "String",
                Field.TYPE_BYTES: "UnsafeRawBufferPointer"}.get(field.type) or self._scalar(field)

    def _read(self, field):
        member = _member(field)
        return {Field.TYPE_BOOL: f"{member} != 0", Field.TYPE_STRING: f"String(cString: {member})",
                Field.TYPE_BYTES: f"{member}.buffer"}.get(field.type, member)

    def _scalar(self, field):
        if field.type == Field.TYPE_MESSAGE:
            return f"UnsafeMutablePointer<{self._alias(field)}>"
        return self._alias(field) if field.type == Field.TYPE_ENUM else _SCALARS[field.type]

    def _alias(self, field):
        return self.types[field.type_name[1:]].alias


def _label(field):
    """A setter's label and parameter."""
    return "value" if field.name == "value" else f"{field.name} value"


def _c_field(field):
    return field.name.lower() + ("_" if field.name in _C_KEYWORDS else "")


def _member(field):
    name = _c_field(field)
    return "self.`self`" if name == "self" else f"self.{name}"


def _services(api):
    text = _head("the services in Protos")
    for file, service, comment in api.services:
        full_name = qualified(file.package, service.name)
        text += "\n" + _doc(comment) + "/// Each constant is what `:path` holds for one RPC.\n"
        text += f"public enum {swift_name(file.package, service.name)} {{\n    public static let name = \"{full_name}\"\n"
        for method in service.method:
            constant = method.name[0].lower() + method.name[1:]
            text += f"    public static let {_escaped(constant)} = \"/{full_name}/{method.name}\"\n"
        text += "}\n"
    text += "\n/// Every service that is defined, by full name, sorted.\npublic let definedServices = [\n"
    for file, service, _ in api.services:
        text += f'    "{qualified(file.package, service.name)}",\n'
    return text + "]\n"
