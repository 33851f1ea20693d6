/// What is made of a request's path before anybody asks about it, so that two ways to write one path cannot have two
/// answers. Source: RFC 3986, 6.2.2; Envoy, `ConnectionManagerUtility::maybeNormalizePath`.
public struct PathNormalisation: Hashable, Sendable {
    /// What becomes of `%2F`, `%5C` in a path.
    public enum EscapedSlashes: Hashable, Sendable {
        case keep
        case reject
        /// To the path in which they are slashes.
        case redirect
        /// As slashes.
        case forward
    }

    public enum Result: Hashable, Sendable {
        /// The path is as it has to be.
        case unchanged
        case changed([UInt8])
        /// 307 to this path.
        case redirect([UInt8])
        /// 400.
        case rejected
    }

    public var normalises: Bool
    public var mergesSlashes: Bool
    public var escapedSlashes: EscapedSlashes

    /// - Parameters:
    ///   - normalises: dot segments, needless escapes, backslashes.
    ///   - mergesSlashes: several slashes in a row.
    public init(normalises: Bool, mergesSlashes: Bool = false, escapedSlashes: EscapedSlashes = .keep) {
        (self.normalises, self.mergesSlashes, self.escapedSlashes) = (normalises, mergesSlashes, escapedSlashes)
    }

    /// - Parameter target: a request's `:path`, query and all. A fragment has no place in one and is refused.
    public func apply(to target: UnsafeRawBufferPointer) -> Result {
        guard let end = Self.endOfPath(target) else { return .rejected }
        let path = UnsafeRawBufferPointer(rebasing: target[..<end])
        guard needsWork(path) else { return .unchanged }
        var bytes = Array(path)
        var redirects = false
        if escapedSlashes != .keep, let unescaped = Self.unescapingSlashes(bytes) {
            switch escapedSlashes {
            case .reject: return .rejected
            case .redirect: redirects = true
            case .forward, .keep: break
            }
            bytes = unescaped
        }
        if normalises {
            guard let canonical = Self.canonical(Self.withoutParametersOfDots(bytes)) else { return .rejected }
            bytes = canonical
        }
        if mergesSlashes { Self.mergeSlashes(&bytes) }
        if !redirects, path.elementsEqual(bytes) { return .unchanged }
        bytes.append(contentsOf: target[end...])
        return redirects ? .redirect(bytes) : .changed(bytes)
    }

    /// Where the query begins; nil for a target with a fragment.
    private static func endOfPath(_ target: UnsafeRawBufferPointer) -> Int? {
        var end = target.count
        for (index, byte) in target.enumerated() {
            if byte == UInt8(ascii: "#") { return nil }
            if byte == UInt8(ascii: "?"), index < end { end = index }
        }
        return end
    }

    /// Whether there is anything in the path that could change: most have nothing.
    private func needsWork(_ path: UnsafeRawBufferPointer) -> Bool {
        var last: UInt8 = 0
        for byte in path {
            if Self.classes[Int(byte)] & Self.special != 0 {
                // A dot within a segment is nothing.
                if byte != UInt8(ascii: "."), byte != UInt8(ascii: "/") { return true }
                if last == UInt8(ascii: "/") { return true }
            }
            last = byte
        }
        return path.first != UInt8(ascii: "/")
    }

    // MARK: The steps

    /// - Returns: nil if there are none.
    private static func unescapingSlashes(_ path: [UInt8]) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(path.count)
        var index = 0
        while index < path.count {
            if path[index] == UInt8(ascii: "%"), index + 2 < path.count {
                switch (path[index + 1], path[index + 2] | 0x20) {
                case (UInt8(ascii: "2"), UInt8(ascii: "f")):
                    result.append(UInt8(ascii: "/"))
                    index += 3
                    continue
                case (UInt8(ascii: "5"), UInt8(ascii: "c")):
                    result.append(UInt8(ascii: "\\"))
                    index += 3
                    continue
                default: break
                }
            }
            result.append(path[index])
            index += 1
        }
        return result.count == path.count ? nil : result
    }

    private static func mergeSlashes(_ path: inout [UInt8]) {
        var merged: [UInt8] = []
        merged.reserveCapacity(path.count)
        for byte in path where byte != UInt8(ascii: "/") || merged.last != UInt8(ascii: "/") { merged.append(byte) }
        // Envoy keeps a slash at either end, so a path of slashes alone keeps two.
        if merged == [UInt8(ascii: "/")], path.count > 1 { merged.append(UInt8(ascii: "/")) }
        path = merged
    }

    /// Dot segments removed, unreserved characters unescaped, others that may not stand there escaped, backslashes
    /// as slashes. Source: the path rules of the URL library that Envoy uses.
    /// - Returns: nil for an escaped NUL.
    private static func canonical(_ path: [UInt8]) -> [UInt8]? {
        var output: [UInt8] = []
        output.reserveCapacity(path.count + 8)
        if path.isEmpty || !isSlash(path[0]) { output.append(UInt8(ascii: "/")) }
        var index = 0
        /// Where in the output a percent sign stands that begins no escape.
        var strayPercent = -4
        while index < path.count {
            let byte = path[index]
            let kind = classes[Int(byte)]
            if kind & special == 0 {
                output.append(byte)
                index += 1
                continue
            }
            let dot = dotLength(path, index)
            if dot > 0 {
                index += dot
                if output.last == UInt8(ascii: "/"), let rest = segmentAfterDot(path, index) {
                    if rest.isUp { backUp(&output) }
                    index += rest.length
                } else {
                    output.append(UInt8(ascii: "."))
                }
            } else if byte == UInt8(ascii: "\\") {
                output.append(UInt8(ascii: "/"))
                index += 1
            } else if byte == UInt8(ascii: "%") {
                guard index + 2 < path.count, let high = digit(path[index + 1]), let low = digit(path[index + 2]) else {
                    strayPercent = output.count
                    output.append(byte)
                    index += 1
                    continue
                }
                let value = high << 4 | low
                if value == 0 { return nil }
                if classes[Int(value)] & unreserved != 0 {
                    output.append(value)
                    index += 3
                    if strayPercent >= output.count - 3 {
                        breakNewEscape(&output, strayPercent, next: index < path.count ? path[index] : nil)
                    }
                } else {
                    output += path[index...(index + 2)]
                    index += 3
                }
            } else if kind & escaped != 0 {
                let digits = Array("0123456789ABCDEF".utf8)
                output += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
                index += 1
            } else {
                output.append(byte)
                index += 1
            }
        }
        return output
    }

    /// A stray percent sign and what was just unescaped behind it may look like an escape that nobody wrote
    /// (`%%41b` as `%Ab`): the sign is escaped then.
    private static func breakNewEscape(_ output: inout [UInt8], _ percent: Int, next: UInt8?) {
        let letters = output[(percent + 1)...] + (output.count == percent + 2 ? [next].compactMap { $0 } : [])
        guard letters.count == 2, letters.allSatisfy({ digit($0) != nil }) else { return }
        output.insert(contentsOf: Array("25".utf8), at: percent + 1)
    }

    /// What follows a dot that begins a segment: the end of it, or a second dot and then the end; nil: the dot is a
    /// part of a name.
    private static func segmentAfterDot(_ path: [UInt8], _ start: Int) -> (isUp: Bool, length: Int)? {
        if start == path.count { return (false, 0) }
        if isSlash(path[start]) { return (false, 1) }
        let second = dotLength(path, start)
        guard second > 0 else { return nil }
        if start + second == path.count { return (true, second) }
        return isSlash(path[start + second]) ? (true, second + 1) : nil
    }

    /// `/..;x/` is `/../`: servers that know parameters of segments would take it so. Only dots as they are count, and
    /// slashes, as in Envoy.
    private static func withoutParametersOfDots(_ path: [UInt8]) -> [UInt8] {
        guard path.contains(UInt8(ascii: ";")) else { return path }
        return Array(
            path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
                .map { segment -> ArraySlice<UInt8> in
                    let name = segment.prefix { $0 != UInt8(ascii: ";") }
                    let isDots = (1...2).contains(name.count) && name.allSatisfy { $0 == UInt8(ascii: ".") }
                    return isDots ? name : segment
                }
                .joined(separator: [UInt8(ascii: "/")]))
    }

    /// One for a dot, three for an escaped one, else 0.
    private static func dotLength(_ path: [UInt8], _ index: Int) -> Int {
        if path[index] == UInt8(ascii: ".") { return 1 }
        let isEscaped =
            path[index] == UInt8(ascii: "%") && index + 2 < path.count && path[index + 1] == UInt8(ascii: "2")
            && path[index + 2] | 0x20 == UInt8(ascii: "e")
        return isEscaped ? 3 : 0
    }

    /// Takes the last segment away; the slash before it stays.
    private static func backUp(_ output: inout [UInt8]) {
        guard output.count > 1 else { return }
        output.removeLast()
        while let last = output.last, last != UInt8(ascii: "/"), output.count > 1 { output.removeLast() }
    }

    private static func isSlash(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "/") || byte == UInt8(ascii: "\\") }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }

    private static let special: UInt8 = 1
    private static let escaped: UInt8 = 2
    private static let unreserved: UInt8 = 4

    /// Of each byte: whether it needs a look, is written with an escape, is never.
    private static let classes: [UInt8] = {
        var classes = [UInt8](repeating: 0, count: 256)
        for byte in 0..<0x21 { classes[byte] = special | escaped }
        for byte in "\"#<>?^`{|}\u{7F}".utf8 { classes[Int(byte)] = special | escaped }
        for byte in "%./\\".utf8 { classes[Int(byte)] = special }
        for byte in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~".utf8 {
            classes[Int(byte)] |= unreserved
        }
        return classes
    }()
}
