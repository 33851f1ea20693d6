import HTTP

extension HTTP1Receiver {
    /// Source: RFC 9112, section 3.
    mutating func takeRequestLine(_ line: UnsafeRawBufferPointer) throws(HTTP1Problem) {
        guard let first = line.firstIndex(of: 0x20), let last = line.lastIndex(of: 0x20), first < last else {
            throw .malformedRequestLine
        }
        let method = UnsafeRawBufferPointer(rebasing: line[..<first])
        let target = UnsafeRawBufferPointer(rebasing: line[(first + 1)..<last])
        guard Characters.isToken(method), !target.isEmpty else { throw .malformedRequestLine }
        try takeVersion(UnsafeRawBufferPointer(rebasing: line[(last + 1)...]), .malformedRequestLine)
        if underway.head.isHTTP10, !limits.acceptsHTTP10 { throw .http10 }
        guard limits.acceptsAnyMethod || KnownMethods.contains(method) else { throw .unknownMethod }
        underway.head.method = HTTP1Method(method)
        let parts = try RequestTarget(target, method: method)
        if parts.scheme == .https, scheme == .http { throw .schemeMismatch }
        builder.append(":method", value: method)
        if !underway.head.isConnect { builder.append(":scheme", value: (parts.scheme ?? scheme).bytes) }
        underway.authorityOffset = builder.bytes
        if let authority = parts.authority {
            builder.append(":authority", value: authority)
            underway.hasAuthority = true
        }
        if !underway.head.isConnect { builder.append(":path", value: parts.path) }
    }

    private mutating func takeVersion(
        _ version: UnsafeRawBufferPointer, _ problem: HTTP1Problem
    ) throws(HTTP1Problem) {
        if version.equals(StaticString("HTTP/1.1").bytes) { return }
        guard version.count == 8, version[6] == UInt8(ascii: "."), (0x30...0x39).contains(version[5]),
            (0x30...0x39).contains(version[7]),
            UnsafeRawBufferPointer(rebasing: version[..<5]).equals(StaticString("HTTP/").bytes)
        else { throw problem }
        guard version[5] == UInt8(ascii: "1"), version[7] == UInt8(ascii: "0") else { throw .unsupportedVersion }
        underway.head.isHTTP10 = true
    }

    /// Source: RFC 9112, section 4. The space after the status may be missing where the reason is.
    mutating func takeStatusLine(_ line: UnsafeRawBufferPointer) throws(HTTP1Problem) {
        guard line.count >= 12, line[8] == 0x20 else { throw .malformedStatusLine }
        try takeVersion(UnsafeRawBufferPointer(rebasing: line[..<8]), .malformedStatusLine)
        let digits = UnsafeRawBufferPointer(rebasing: line[9..<12])
        guard let status = Characters.number(digits), status >= 100 else { throw .malformedStatus }
        if line.count > 12 {
            guard line[12] == 0x20 else { throw .malformedStatus }
            guard Characters.areFieldBytes(UnsafeRawBufferPointer(rebasing: line[12...])) else { throw .control }
        }
        underway.head.status = Int(status)
        builder.append(":status", value: digits)
    }

    // MARK: Fields

    /// Appends a field to the list under construction. Source: RFC 9112, section 5.
    /// - Returns: where it begins, and what it is.
    @inline(__always)
    private mutating func write(_ line: UnsafeRawBufferPointer) throws(HTTP1Problem) -> (offset: Int, kind: FieldKind) {
        guard let source = line.baseAddress else { throw .missingColon }
        let (offset, table, end) = (builder.bytes, Characters.token.utf8Start, line.count)
        var problem: HTTP1Problem?
        var kind = FieldKind.ordinary
        let isWritten = builder.append(room: end) { target in
            var name = 0
            while name < end {
                let byte = table[Int(source.load(fromByteOffset: name, as: UInt8.self))]
                if byte == 0 { break }
                target[name] = byte
                name += 1
            }
            guard name > 0, name < end, line[name] == UInt8(ascii: ":") else {
                problem = Self.nameProblem(line, name)
                return nil
            }
            var (first, last) = (name + 1, end)
            while first < last, line[first] == 0x20 || line[first] == 0x09 { first += 1 }
            while last > first, line[last - 1] == 0x20 || line[last - 1] == 0x09 { last -= 1 }
            guard Characters.copyValue(source + first, last - first, to: target + name) else {
                problem = .control
                return nil
            }
            kind = FieldKind(UnsafeRawBufferPointer(start: target, count: name))
            return (name, last - first)
        }
        guard isWritten else { throw problem ?? .malformedName }
        return (offset, kind)
    }

    @inline(never)
    private static func nameProblem(_ line: UnsafeRawBufferPointer, _ end: Int) -> HTTP1Problem {
        if line[0] == 0x20 || line[0] == 0x09 { return .foldedLine }
        if end == line.count { return .missingColon }
        if end > 0, line[end] == 0x20 || line[end] == 0x09 { return .spaceBeforeColon }
        return .malformedName
    }

    mutating func takeTrailer(_ line: UnsafeRawBufferPointer) throws(HTTP1Problem) {
        underway.fields += 1
        guard underway.fields <= limits.fields else { throw .tooManyFields }
        let offset = try write(line).offset
        if !builder.withField(at: offset, { name, _ in FieldKind.isAllowedInTrailers(name) }) {
            builder.removeLast(from: offset)
        }
    }

    @inline(__always)
    mutating func takeField(_ line: UnsafeRawBufferPointer) throws(HTTP1Problem) {
        underway.fields += 1
        guard underway.fields <= limits.fields else { throw .tooManyFields }
        let (offset, kind) = try write(line)
        if case .ordinary = kind { return }
        try takeSpecialField(line, kind, at: offset)
    }

    private mutating func takeSpecialField(
        _ line: UnsafeRawBufferPointer, _ kind: FieldKind, at offset: Int
    ) throws(HTTP1Problem) {
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? 0
        let value = Characters.trimmed(UnsafeRawBufferPointer(rebasing: line[(colon + 1)...]))
        switch kind {
        case .ordinary: return
        case .contentLength:
            guard underway.length == nil else { throw .repeatedLength }
            guard let length = Characters.number(value) else { throw .malformedLength }
            underway.length = length
            return
        case .host where role == .client: return
        case .expect where role == .client: return
        case .host: try takeHost(value, at: offset)
        case .te:
            builder.removeLast(from: offset)
            if Self.lists(value, "trailers") { builder.append("te", value: StaticString("trailers").bytes) }
        case .expect:
            builder.removeLast(from: offset)
            guard value.equalsIgnoringCase("100-continue") else { throw .unsupportedExpectation }
            underway.expectation = true
        case .upgrade:
            builder.removeLast(from: offset)
            guard underway.head.upgrade == nil else { throw .malformedConnection }
            underway.head.upgrade = String(decoding: value.map(\.lowerCased), as: UTF8.self)
        case .connection:
            builder.removeLast(from: offset)
            try takeConnection(value)
        case .dropped: builder.removeLast(from: offset)
        case .transferEncoding:
            builder.removeLast(from: offset)
            underway.encoding =
                underway.encoding == .none && value.equalsIgnoringCase("chunked") ? .chunked : .other
        }
    }

    private mutating func takeHost(_ value: UnsafeRawBufferPointer, at offset: Int) throws(HTTP1Problem) {
        guard !underway.hasHost else { throw .repeatedHost }
        underway.hasHost = true
        guard let host = Authority(value) else { throw value.isEmpty ? .missingHost : .malformedAuthority }
        builder.removeLast(from: offset)
        guard underway.hasAuthority else {
            builder.insert(":authority", value: value, at: underway.authorityOffset)
            return
        }
        // The target wins, and a host that says otherwise is an attempt to be routed by one and served by the other.
        let defaultPort = underway.head.isConnect ? nil : scheme.port
        let isSame = builder.withField(at: underway.authorityOffset) { _, authority in
            Authority(authority)?.isSame(as: host, defaultPort: defaultPort) ?? false
        }
        guard isSame else { throw .hostMismatch }
    }

    /// Source: RFC 9110, section 7.6.1.
    private mutating func takeConnection(_ value: UnsafeRawBufferPointer) throws(HTTP1Problem) {
        var rest = value[...]
        while !rest.isEmpty {
            let part = rest.prefix { $0 != UInt8(ascii: ",") }
            rest = rest[part.endIndex...].dropFirst()
            let option = Characters.trimmed(UnsafeRawBufferPointer(rebasing: part))
            if option.isEmpty { continue }
            underway.optionCount += 1
            guard underway.optionCount <= limits.connectionOptions, Characters.isToken(option) else {
                throw .malformedConnection
            }
            if option.equalsIgnoringCase("close") {
                underway.closes = true
            } else if option.equalsIgnoringCase("keep-alive") {
                underway.keepsAlive = true
            } else if option.equalsIgnoringCase("upgrade") {
                underway.changesProtocol = true
            } else if !option.equalsIgnoringCase("te") {
                let name = option.map(\.lowerCased)
                if role == .server, name.withUnsafeBytes(FieldKind.isProtected) { throw .protectedConnectionOption }
                underway.options += name + [UInt8(ascii: ",")]
            }
        }
    }

    /// Whether a list of tokens with parameters has one of this name.
    private static func lists(_ value: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
        value.split(separator: UInt8(ascii: ",")).contains { part in
            let token = part.prefix { $0 != UInt8(ascii: ";") }
            return Characters.trimmed(UnsafeRawBufferPointer(rebasing: token)).equalsIgnoringCase(name)
        }
    }

    // MARK: The end of a head

    mutating func endHead(_ events: inout [HTTP1Event]) throws(HTTP1Problem) {
        underway.head.keepsAlive =
            !underway.closes && (!underway.head.isHTTP10 || underway.keepsAlive)
        if !underway.changesProtocol || underway.head.isHTTP10 || underway.head.upgrade?.isEmpty == true {
            underway.head.upgrade = nil
        }
        if role == .server { try endRequestHead() } else if try !endResponseHead() { return try inform(&events) }
        var list = builder.finish()
        removeOptions(from: &list)
        let framing = underway.head.framing
        // Where a length says nothing, it must not reach somebody for whom it does.
        if role == .client, framing == .untilClose || underway.head.status == 204 { list.remove("content-length") }
        events.append(.head(list, underway.head))
        switch framing {
        case .none, .length(0): end(nil, &events)
        case .length(let length): (remaining, state) = (length, .body)
        case .chunked: state = .chunkSize
        case .untilClose: state = .untilClose
        }
    }

    private mutating func removeOptions(from list: inout HeaderList) {
        guard !underway.options.isEmpty else { return }
        underway.options.withUnsafeBytes { options in
            for name in options.split(separator: UInt8(ascii: ",")) {
                list.remove(bytes: UnsafeRawBufferPointer(rebasing: name))
            }
        }
    }

    private mutating func endRequestHead() throws(HTTP1Problem) {
        if !underway.hasHost {
            guard underway.head.isHTTP10 else { throw .missingHost }
            if !underway.hasAuthority {
                guard var host = limits.hostForHTTP10 else { throw .missingHost }
                host.withUTF8 {
                    builder.insert(":authority", value: UnsafeRawBufferPointer($0), at: underway.authorityOffset)
                }
            }
        }
        underway.head.framing = try bodyFraming() ?? .none
        if underway.head.isConnect, underway.head.framing != .none { throw .bodyOfConnect }
        let hasBody = underway.head.framing != .none && underway.head.framing != .length(0)
        // HTTP/1.0 clients do not wait, whatever they say. Source: RFC 9110, section 10.1.1.
        underway.head.expectsContinue = underway.expectation && hasBody && !underway.head.isHTTP10
        // A body before an upgrade would be read by one side as the new protocol; h2c over a proxy evades its rules.
        if hasBody || underway.head.isConnect || underway.head.upgrade == "h2c" { underway.head.upgrade = nil }
    }

    /// What the fields say of the body; nil where they say nothing.
    private func bodyFraming() throws(HTTP1Problem) -> HTTP1Framing? {
        if underway.encoding != .none {
            if underway.head.isHTTP10 { throw .encodingInHTTP10 }
            if underway.length != nil { throw .lengthAndEncoding }
            guard underway.encoding == .chunked else { throw .unsupportedEncoding }
            return .chunked
        }
        return underway.length.map(HTTP1Framing.length)
    }

    /// Source: RFC 9112, section 6.3.
    /// - Returns: whether this is the final response.
    private mutating func endResponseHead() throws(HTTP1Problem) -> Bool {
        let status = underway.head.status
        if status == 101 {
            guard mayUpgrade, underway.head.upgrade != nil else { throw .unaskedUpgrade }
            becomesTunnel()
            return true
        }
        underway.head.upgrade = nil
        if status < 200 { return false }
        if method == .connect, status < 300 {
            becomesTunnel()
            return true
        }
        let framing = try bodyFraming()
        if method == .head || status == 304 || status == 204 {
            underway.head.framing = .none
        } else if let framing {
            underway.head.framing = framing
        } else {
            (underway.head.framing, underway.head.keepsAlive) = (.untilClose, false)
        }
        return true
    }

    private mutating func becomesTunnel() {
        (underway.head.framing, underway.head.keepsAlive) = (.untilClose, false)
    }

    private mutating func inform(_ events: inout [HTTP1Event]) throws(HTTP1Problem) {
        informationalCount += 1
        guard informationalCount <= limits.informationalResponses else { throw .tooManyInformational }
        var list = builder.finish()
        removeOptions(from: &list)
        list.remove("content-length")
        events.append(.informational(list))
        begin()
    }
}
