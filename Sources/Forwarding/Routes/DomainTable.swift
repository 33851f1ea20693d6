import HTTP

/// Finds the virtual host of a request by its authority: exact names first, then the longest `*suffix`, then the
/// longest `prefix*`, then `*`; case does not count. Source: Envoy, `VirtualHost.domains`, `RouteMatcher`.
struct DomainTable: Sendable {
    private var exact = ByteMap()
    /// By the length of what follows the star, the longest first.
    private var suffixes: [(length: Int, names: ByteMap)] = []
    private var prefixes: [(length: Int, names: ByteMap)] = []
    private var fallback: Int?
    private let ignoresPort: Bool

    init(ignoresPort: Bool) { self.ignoresPort = ignoresPort }

    /// - Throws: for a domain that is there already, or is none.
    mutating func insert(_ domain: String, _ host: Int) throws(ConfigurationError) {
        let name = domain.utf8.map(\.lowerCased)
        let star = UInt8(ascii: "*")
        let isNew: Bool
        if name == [star] {
            isNew = fallback == nil
            fallback = fallback ?? host
        } else if name.first == star {
            isNew = Self.insert(Array(name.dropFirst()), host, &suffixes)
        } else if name.last == star {
            isNew = Self.insert(Array(name.dropLast()), host, &prefixes)
        } else {
            guard !name.isEmpty else { throw .invalid(path: "", message: "an empty domain") }
            isNew = exact.insert(name, host)
        }
        if !isNew { throw .invalid(path: "", message: "the domain `\(domain)` is there twice") }
    }

    private static func insert(_ name: [UInt8], _ host: Int, _ tables: inout [(length: Int, names: ByteMap)]) -> Bool {
        if let index = tables.firstIndex(where: { $0.length == name.count }) {
            return tables[index].names.insert(name, host)
        }
        var names = ByteMap()
        names.insert(name, host)
        tables.insert((name.count, names), at: tables.firstIndex { $0.length < name.count } ?? tables.count)
        return true
    }

    /// - Parameter authority: nil for a request without one.
    func host(_ authority: UnsafeRawBufferPointer?) -> Int? {
        if exact.isEmpty, suffixes.isEmpty, prefixes.isEmpty { return fallback }
        guard var name = authority else { return nil }
        if ignoresPort, let colon = name.portStart { name = UnsafeRawBufferPointer(rebasing: name[..<colon]) }
        if let host = exact[name] { return host }
        for (length, names) in suffixes where length < name.count {
            if let host = names[UnsafeRawBufferPointer(rebasing: name[(name.count - length)...])] { return host }
        }
        for (length, names) in prefixes where length < name.count {
            if let host = names[UnsafeRawBufferPointer(rebasing: name[..<length])] { return host }
        }
        return fallback
    }
}

extension UnsafeRawBufferPointer {
    /// Where the colon before the port of an authority is; nil without a port. Source: RFC 3986, section 3.2.
    var portStart: Int? {
        guard let colon = lastIndex(of: UInt8(ascii: ":")) else { return nil }
        if let bracket = lastIndex(of: UInt8(ascii: "]")), bracket > colon { return nil }
        return colon
    }
}
