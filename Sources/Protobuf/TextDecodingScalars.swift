import Documents

extension TextDecoder {
    /// Stores a scalar that is not null (or is one for NullValue) as the field's kind wants it.
    func store(
        _ scalar: DocumentScalar, _ field: FieldDescriptor, at address: UnsafeMutableRawPointer
    ) throws(TextFormatError) {
        switch field.kind {
        case .int32: address.storeBytes(of: try integer(scalar, field.kind), as: Int32.self)
        case .uint32: address.storeBytes(of: try integer(scalar, field.kind), as: UInt32.self)
        case .int64: address.storeBytes(of: try integer(scalar, field.kind), as: Int64.self)
        case .uint64: address.storeBytes(of: try integer(scalar, field.kind), as: UInt64.self)
        case .float: address.storeBytes(of: try number(scalar, field.kind), as: Float.self)
        case .double: address.storeBytes(of: try number(scalar, field.kind), as: Double.self)
        case .bool: address.storeBytes(of: try bool(scalar) ? 1 : 0, as: Int32.self)
        case .string: address.storeBytes(of: try text(scalar), as: UnsafeMutablePointer<CChar>.self)
        case .bytes:
            guard scalar.style == .quoted || scalar.style == .plain, let bytes = bytes(base64: scalar.text) else {
                throw mismatch(field.kind.noun, .scalar(scalar), mend: "encode the bytes with Base64")
            }
            arena.storeBytes(bytes, at: address)
        case .enumeration(let type): address.storeBytes(of: try number(of: scalar, type), as: Int32.self)
        case .message: preconditionFailure("a message is no scalar")
        }
    }

    /// Stores the key of a map entry, whose text is never null. Numbers have one spelling, so that no key is there
    /// twice.
    func storeKey(
        _ key: DocumentScalar, _ field: FieldDescriptor, at address: UnsafeMutableRawPointer
    ) throws(TextFormatError) {
        func exact<T: FixedWidthInteger>(_ type: T.Type) throws(TextFormatError) -> T {
            guard let value = T(key.text), String(value) == key.text else {
                throw mismatch(
                    "an integer from \(T.min) to \(T.max) as the key", .scalar(key), mend: "write digits only")
            }
            return value
        }
        switch field.kind {
        case .int32: address.storeBytes(of: try exact(Int32.self), as: Int32.self)
        case .uint32: address.storeBytes(of: try exact(UInt32.self), as: UInt32.self)
        case .int64: address.storeBytes(of: try exact(Int64.self), as: Int64.self)
        case .uint64: address.storeBytes(of: try exact(UInt64.self), as: UInt64.self)
        case .bool:
            guard key.text == "true" || key.text == "false" else {
                throw mismatch("true or false as the key", .scalar(key), mend: "write true or false")
            }
            address.storeBytes(of: key.text == "true" ? 1 : 0, as: Int32.self)
        case .string:
            // As written: in a key, `null` and `1` are texts.
            var text = key
            text.style = .quoted
            address.storeBytes(of: try self.text(text), as: UnsafeMutablePointer<CChar>.self)
        case .float, .double, .bytes, .enumeration, .message: preconditionFailure("no key type of protobuf")
        }
    }

    func text(_ scalar: DocumentScalar) throws(TextFormatError) -> UnsafeMutablePointer<CChar> {
        guard scalar.style == .quoted || scalar.style == .plain else {
            throw mismatch("a text", .scalar(scalar), mend: "put it in quotes")
        }
        guard !scalar.text.utf8.contains(0) else { throw error(.embeddedNUL, scalar.position) }
        return arena(scalar.text)
    }

    func bool(_ scalar: DocumentScalar) throws(TextFormatError) -> Bool {
        if scalar.style == .plain || scalar.style == .keyword, case .bool(let value) = PlainValue(scalar) {
            return value
        }
        let mend = scalar.style == .quoted ? "write true or false without quotes" : "write true or false"
        throw mismatch("true or false", .scalar(scalar), mend: mend)
    }

    /// The JSON number that the scalar stands for. Quoted numbers are numbers too. Source: proto3 JSON mapping.
    private func literal(_ scalar: DocumentScalar, _ kind: FieldDescriptor.Kind) throws(TextFormatError) -> String {
        switch scalar.style {
        case .number: return scalar.text
        case .quoted where isJSONNumber(scalar.text): return scalar.text
        case .plain:
            switch NumberLiteral(plain: scalar.text) {
            case .number(let literal): return literal
            case .ambiguous:
                throw mismatch(
                    kind.noun, .scalar(scalar),
                    mend: "leading zeros are octal to some readers: write 0o\(scalar.text.drop { $0 == "0" }) or "
                        + "\(scalar.text.drop { $0 == "0" })")
            case .notANumber: break
            }
        case .quoted, .keyword: break
        }
        throw mismatch(kind.noun, .scalar(scalar), mend: "write a number")
    }

    func integer<T: FixedWidthInteger>(
        _ scalar: DocumentScalar, _ kind: FieldDescriptor.Kind
    ) throws(TextFormatError) -> T {
        let reading = IntegerReading(try literal(scalar, kind))
        if let value = reading.converted(to: T.self) { return value }
        if case .fraction = reading {
            throw mismatch(kind.noun, .scalar(scalar), mend: "write a number without a fraction")
        }
        throw error(.outOfRange(scalar.text, range: "\(T.min) to \(T.max)"), scalar.position)
    }

    func number<F: BinaryFloatingPoint & LosslessStringConvertible>(
        _ scalar: DocumentScalar, _ kind: FieldDescriptor.Kind
    ) throws(TextFormatError) -> F {
        if scalar.style == .quoted || scalar.style == .plain {
            switch scalar.text {
            case "NaN": return .nan
            case "Infinity": return .infinity
            case "-Infinity": return -.infinity
            case ".nan", ".NaN", ".NAN": if scalar.style == .plain { return .nan }
            case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF": if scalar.style == .plain { return .infinity }
            case "-.inf", "-.Inf", "-.INF": if scalar.style == .plain { return -.infinity }
            default: break
            }
        }
        guard let value = F(try literal(scalar, kind)), value.isFinite else {
            throw error(
                .outOfRange(scalar.text, range: "±\(F.greatestFiniteMagnitude)"), scalar.position)
        }
        return value
    }

    private func number(of scalar: DocumentScalar, _ type: EnumDescriptor) throws(TextFormatError) -> Int32 {
        if scalar.isNull { return 0 }  // NullValue, which alone takes null.
        if scalar.style == .quoted || scalar.style == .plain {
            if let number = type.number(of: scalar.text) { return number }
            let isNumber = scalar.style == .plain && NumberLiteral(plain: scalar.text) != .notANumber
            guard isNumber else {
                throw error(
                    .unknownEnumName(
                        scalar.text, type: type.fullName,
                        suggestion: suggestion(for: scalar.text, among: type.names)), scalar.position)
            }
        }
        guard scalar.style != .keyword else {
            throw mismatch("a name of \(type.fullName)", .scalar(scalar), mend: "write one of its names")
        }
        // Numbers that have no name are kept: the receiver may know them.
        return try integer(scalar, .enumeration(type))
    }
}
